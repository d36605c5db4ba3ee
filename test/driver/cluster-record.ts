import { createHash } from 'node:crypto';
import type { PodView, SecretProviderClass } from './cluster.ts';
import type { Event } from './synced-secrets.ts';
import type { KubeClient, KubeObject, OwnerReference } from './kube-client.ts';

/** Writes what the driver and the kubelet write to the API server for users. */
export type ClusterRecord = {
  /** Writes the changes of a volume since the last call. */
  write(pod: KubeObject, spc: SecretProviderClass, view: PodView): Promise<void>;
  /** Writes an Event on the pod, or counts it up. */
  event(pod: KubeObject, event: Event): Promise<void>;
  /** Writes the status of the pod. */
  phase(pod: KubeObject, phase: 'Running' | 'Pending'): Promise<void>;
  /**
   * Removes the statuses of a deleted pod and the Secrets that it owned, as the garbage collector
   * does.
   */
  remove(pod: KubeObject): Promise<void>;
};

const group = 'secrets-store.csi.x-k8s.io/v1';

/**
 * `generation`: 1.6 replaces a changed Secret and sets its owners later; 1.5 changes it in place.
 */
export function createClusterRecord(options: {
  readonly kube: KubeClient;
  readonly nodeName: string;
  readonly generation: '1.5' | '1.6';
}): ClusterRecord {
  const { kube, nodeName, generation } = options;
  const written = new Map<string, string>();
  const counts = new Map<string, number>();

  /** Whether the content differs from the last one of this name. */
  function isChanged(name: string, content: unknown): boolean {
    const text = JSON.stringify(content);
    if (written.get(name) === text) return false;
    written.set(name, text);
    return true;
  }

  async function writeStatus(
    pod: KubeObject,
    spc: SecretProviderClass,
    view: PodView,
  ): Promise<void> {
    if (view.status === undefined) return;
    const { name, objects } = view.status;
    const status = {
      podName: view.pod.name,
      secretProviderClassName: spc.metadata.name,
      mounted: true,
      targetPath: view.directory,
      objects: [...objects].sort((a, b) => (a.id < b.id ? -1 : 1)),
    };
    if (!isChanged(`status ${view.pod.uid} ${name}`, status)) return;
    const labels = { 'internal.secrets-store.csi.k8s.io/node-name': nodeName };
    const metadata = {
      name,
      namespace: view.pod.namespace,
      labels,
      ownerReferences: [reference(pod)],
    };
    await kube.apply([
      { apiVersion: group, kind: 'SecretProviderClassPodStatus', metadata, status },
    ]);
  }

  async function writeSecrets(
    pod: KubeObject,
    spc: SecretProviderClass,
    view: PodView,
  ): Promise<void> {
    for (const { secretName, type = 'Opaque', labels, annotations } of spc.spec.secretObjects ??
      []) {
      const stringData = view.secrets[secretName];
      if (stringData === undefined) continue;
      const { namespace } = view.pod;
      const isNew = !written.has(`secret ${namespace}/${secretName}`);
      // With the versions: 1.6 replaces a Secret when they change, even if its bytes do not.
      if (!isChanged(`secret ${namespace}/${secretName}`, [stringData, view.status?.objects]))
        continue;
      const data = Object.fromEntries(
        Object.entries(stringData).map(([key, text]) => [
          key,
          Buffer.from(text).toString('base64'),
        ]),
      );
      const metadata = {
        ...{ name: secretName, namespace, annotations },
        labels: { ...labels, 'secrets-store.csi.k8s.io/managed': 'true' },
      };
      const secret = { apiVersion: 'v1', kind: 'Secret', type, metadata, data };
      if (generation === '1.6' && !isNew) await kube.apply([secret]);
      await kube.apply([{ ...secret, metadata: { ...metadata, ownerReferences: [owner(pod)] } }]);
    }
  }

  async function event(pod: KubeObject, { reason, message }: Event): Promise<void> {
    const { name, namespace = 'default', uid } = pod.metadata;
    const hash = createHash('sha256')
      .update(`${uid} ${reason} ${message}`)
      .digest('hex')
      .slice(0, 16);
    const count = (counts.get(hash) ?? 0) + 1;
    counts.set(hash, count);
    const involvedObject = { apiVersion: 'v1', kind: 'Pod', name, namespace, uid };
    const lastTimestamp = new Date().toISOString().replace(/\.\d+/, '');
    await kube.apply([
      {
        ...{ apiVersion: 'v1', kind: 'Event', metadata: { name: `${name}.${hash}`, namespace } },
        ...{ involvedObject, type: 'Warning', reason, message, count, lastTimestamp },
        ...{ source: { component: 'kubelet', host: nodeName } },
      },
    ]);
  }

  return {
    async write(pod, spc, view) {
      await writeStatus(pod, spc, view);
      await writeSecrets(pod, spc, view);
    },
    event,
    async phase(pod, phase) {
      const { name, namespace = 'default', uid = '' } = pod.metadata;
      if (!isChanged(`phase ${uid}`, phase)) return;
      const ready = { type: 'Ready', status: phase === 'Running' ? 'True' : 'False' };
      await kube.patch(`/api/v1/namespaces/${namespace}/pods/${name}/status`, {
        status: { phase, conditions: [ready] },
      });
    },
    async remove(pod) {
      const { namespace = 'default', uid } = pod.metadata;
      const statuses = `/apis/${group}/namespaces/${namespace}/secretproviderclasspodstatuses`;
      for (const { metadata } of await kube.list(statuses))
        if (metadata.ownerReferences?.some((one) => one.uid === uid) === true)
          await kube.delete(`${statuses}/${metadata.name}`);
      const secrets = `/api/v1/namespaces/${namespace}/secrets`;
      for (const { metadata } of await kube.list(secrets)) {
        if (metadata.ownerReferences?.some((one) => one.uid === uid) !== true) continue;
        await kube.delete(`${secrets}/${metadata.name}`);
        written.delete(`secret ${namespace}/${metadata.name}`);
      }
    },
  };
}

/** The owner of a synced Secret: the owner of the pod, else the pod. */
function owner(pod: KubeObject): OwnerReference {
  return pod.metadata.ownerReferences?.[0] ?? reference(pod);
}

function reference({ metadata: { name, uid = '' } }: KubeObject): OwnerReference {
  return { apiVersion: 'v1', kind: 'Pod', name, uid };
}
