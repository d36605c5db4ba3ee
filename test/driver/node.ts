import { setTimeout as sleep } from 'node:timers/promises';
import { createClusterRecord } from './cluster-record.ts';
import type { PodView, SecretProviderClass } from './cluster.ts';
import { createDriver, type DriverOptions } from './driver.ts';
import { KubeError, type KubeClient, type KubeObject } from './kube-client.ts';
import { createPodTokens } from './pod-tokens.ts';

/** The CSIDriver object and the `driver` of volumes. */
export const driverName = 'secrets-store.csi.k8s.io';

type CsiVolume = {
  readonly name: string;
  readonly csi?: {
    readonly driver: string;
    readonly volumeAttributes?: Readonly<Record<string, string>>;
    readonly nodePublishSecretRef?: { readonly name: string };
  };
};
type PodObject = KubeObject & {
  readonly spec: {
    readonly nodeName?: string;
    readonly serviceAccountName?: string;
    readonly volumes?: readonly CsiVolume[];
  };
};

export type NodeOptions = DriverOptions & {
  readonly kube: KubeClient;
  readonly name: string;
  /**
   * Milliseconds before a pending pod is retried. Default 200; the kubelet starts with 500 and
   * doubles it.
   */
  readonly retryMs?: number;
};

/** See {@link startNode}. */
export type SimulatedNode = {
  /** The volumes of a pod, `namespace/name`, in their order. Empty before the first mount. */
  volumes(pod: string): readonly PodView[];
  /** Waits until the first volume of the pod matches, by default at most 20 s, and returns it. */
  until(pod: string, fits: (view: PodView) => boolean, timeoutMs?: number): Promise<PodView>;
  /** Runs one round of the driver's ticker (1.5) or the kubelet's republish (1.6) for every pod. */
  republishAll(): Promise<void>;
  stop(): Promise<void>;
};

type NodePod = {
  pod: PodObject;
  views: Map<string, PodView>;
  lastSync: Promise<void>;
  fingerprint: string;
};

/**
 * Simulates a node of a real cluster: the driver, and the kubelet for pods with secrets. It watches
 * the pods of the node, mints their tokens, mounts, retries pending pods, republishes when a pod
 * changes (1.6), and writes statuses, Secrets and events.
 */
export function startNode(options: NodeOptions): SimulatedNode {
  const { kube, name, generation, retryMs = 200 } = options;
  const driver = createDriver(options);
  const record = createClusterRecord({ kube, nodeName: name, generation });
  const tokensOf = createPodTokens(kube, driverName);
  const pods = new Map<string, NodePod>();
  const stopping = new AbortController();

  /** Mounts or remounts one volume. */
  async function mountOne(here: NodePod, { name: volume, csi }: CsiVolume): Promise<void> {
    const { metadata, spec } = here.pod;
    const namespace = metadata.namespace ?? 'default';
    const pod = {
      ...{ name: metadata.name, namespace, uid: metadata.uid ?? '' },
      serviceAccount: spec.serviceAccountName ?? 'default',
    };
    const attributes = csi?.volumeAttributes ?? {};
    const className = attributes.secretProviderClass ?? '';
    const before = here.views.get(volume);
    let spc: SecretProviderClass;
    let changes: Parameters<typeof driver.republish>[1] & object;
    try {
      spc = await kube.get<SecretProviderClass>(
        `/apis/secrets-store.csi.x-k8s.io/v1/namespaces/${namespace}/secretproviderclasses/${className}`,
      );
      const nodePublishSecret = await keysOf(namespace, csi?.nodePublishSecretRef?.name);
      changes = {
        attributes,
        tokens: await tokensOf(pod),
        ...(nodePublishSecret && { nodePublishSecret }),
      };
    } catch (error) {
      // A running pod keeps its files. A new one shows the reason why it is pending.
      if (!(error instanceof KubeError) || before?.phase === 'Running') return;
      const message = `MountVolume.SetUp failed for volume "${volume}" : rpc error: code = Unknown desc = ${error.message}`;
      await record.event(here.pod, { reason: 'FailedMount', message });
      return;
    }
    const view =
      before === undefined
        ? await driver.publish({ ...changes, class: spc, pod, volume })
        : await driver.republish(before, { ...changes, class: spc });
    here.views.set(volume, view);
    for (const event of view.events.slice(before?.events.length ?? 0))
      await record.event(here.pod, event);
    await record.write(here.pod, spc, view);
  }

  async function keysOf(
    namespace: string,
    secret: string | undefined,
  ): Promise<Readonly<Record<string, string>> | undefined> {
    if (secret === undefined) return undefined;
    const { data = {} } = await kube.get<{ data?: Record<string, string> }>(
      `/api/v1/namespaces/${namespace}/secrets/${secret}`,
    );
    return Object.fromEntries(
      Object.entries(data).map(([key, text]) => [key, Buffer.from(text, 'base64').toString()]),
    );
  }

  function volumesOf({ spec }: PodObject): readonly CsiVolume[] {
    return (spec.volumes ?? []).filter(({ csi }) => csi?.driver === driverName);
  }

  function isRunning({ pod, views }: NodePod): boolean {
    return volumesOf(pod).every((volume) => views.get(volume.name)?.phase === 'Running');
  }

  /**
   * Mounts all volumes of a pod after its previous sync. If the API server is not available, the
   * next sync does it.
   */
  function sync(here: NodePod): Promise<void> {
    here.lastSync = here.lastSync.then(async () => {
      if (stopping.signal.aborted || !pods.has(here.pod.metadata.uid ?? '')) return;
      try {
        for (const volume of volumesOf(here.pod)) await mountOne(here, volume);
        await record.phase(here.pod, isRunning(here) ? 'Running' : 'Pending');
      } catch {
        await sleep(retryMs);
      }
    });
    return here.lastSync;
  }

  async function syncUntilRunning(here: NodePod): Promise<void> {
    await sync(here);
    while (!stopping.signal.aborted && pods.has(here.pod.metadata.uid ?? '') && !isRunning(here)) {
      await sleep(retryMs);
      await sync(here);
    }
  }

  async function removePod(here: NodePod): Promise<void> {
    pods.delete(here.pod.metadata.uid ?? '');
    await here.lastSync;
    for (const view of here.views.values()) await driver.unpublish(view);
    await record.remove(here.pod).catch(() => undefined);
  }

  const watched = `/api/v1/pods?fieldSelector=spec.nodeName%3D${name}`;
  const watching = kube.watch<PodObject>(watched, stopping.signal, ({ type, object: pod }) => {
    const uid = pod.metadata.uid ?? '';
    const here = pods.get(uid);
    if (type === 'DELETED') {
      if (here !== undefined) void removePod(here);
    } else if (here === undefined) {
      const added = {
        pod,
        views: new Map<string, PodView>(),
        lastSync: Promise.resolve(),
        fingerprint: fingerprintOf(pod),
      };
      pods.set(uid, added);
      void syncUntilRunning(added);
    } else {
      const isChanged = here.fingerprint !== fingerprintOf(pod);
      here.pod = pod;
      here.fingerprint = fingerprintOf(pod);
      if (isChanged && generation === '1.6' && isRunning(here)) void sync(here);
    }
  });

  function find(pod: string): NodePod | undefined {
    return [...pods.values()].find(
      ({ pod: { metadata } }) => `${metadata.namespace}/${metadata.name}` === pod,
    );
  }

  return {
    volumes: (pod) => [...(find(pod)?.views.values() ?? [])],
    async until(pod, fits, timeoutMs = 20_000) {
      for (const deadline = Date.now() + timeoutMs; ; await sleep(10)) {
        const [view] = find(pod)?.views.values() ?? [];
        if (view !== undefined && fits(view)) return view;
        if (Date.now() > deadline)
          throw new Error(
            `${pod} did not reach the expected state: ${JSON.stringify(view?.events)}`,
          );
      }
    },
    async republishAll() {
      await Promise.all([...pods.values()].filter(isRunning).map(sync));
    },
    async stop() {
      stopping.abort();
      await watching;
      await Promise.all([...pods.values()].map((here) => here.lastSync));
      driver.close();
    },
  };
}

/**
 * The parts of a pod whose change makes the kubelet sync it: everything that it does not write
 * itself.
 */
function fingerprintOf({ metadata, spec }: PodObject): string {
  return JSON.stringify([metadata.labels, metadata.annotations, spec]);
}
