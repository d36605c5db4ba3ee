import { expect } from '@jest/globals';
import type { SecretProviderClass } from '../driver/cluster.ts';
import { parseObjects, type KubeClient, type KubeObject } from '../driver/kube-client.ts';
import { driverName } from '../driver/node.ts';
import { eventually } from './stage.ts';

/** What is to be tried in a cluster that has the driver and Keyferry. */
export type Trial = {
  readonly kube: KubeClient;
  /** YAML: one SecretProviderClass, and whatever its pods need, such as a Namespace and a ServiceAccount; other kinds are left out. */
  readonly manifest: string;
  /** Default `default`, or the manifest's one. */
  readonly serviceAccount?: string;
  readonly image: string;
  /** A node for the pods; default: the scheduler's choice. */
  readonly node?: string;
  /** How long a pod may take, in milliseconds. */
  readonly patienceMs: number;
  readonly say: (line: string) => void;
};

const kinds = ['Namespace', 'ServiceAccount', 'Secret', 'ConfigMap', 'SecretProviderClass'];
const group = '/apis/secrets-store.csi.x-k8s.io/v1';
const stranger = 'keyferry-e2e-stranger';

type Pod = KubeObject & {
  readonly status: { readonly phase: string };
  readonly spec: { readonly nodeName?: string };
};

/**
 * Tries a class in a cluster, and leaves nothing behind but what was there before: its pod runs and has a status and the Secrets it promises; a pod of a
 * ServiceAccount that nobody has given anything waits, and is told why.
 */
export async function tryCluster(trial: Trial): Promise<void> {
  const { kube, say, patienceMs } = trial;
  const objects = parseObjects(trial.manifest).filter(({ kind }) => kinds.includes(kind));
  const spc = objects.find(({ kind }) => kind === 'SecretProviderClass') as
    (KubeObject & SecretProviderClass) | undefined;
  if (spc === undefined) throw new Error('the manifest has no SecretProviderClass');
  const namespace = spc.metadata.namespace ?? 'default';
  const account =
    trial.serviceAccount ?? objects.find(({ kind }) => kind === 'ServiceAccount')?.metadata.name ?? 'default';
  const made: string[] = [];

  async function apply(object: KubeObject): Promise<void> {
    const path = await kube.pathOf(object, namespace);
    if ((await kube.request('GET', path)).status === 404) made.push(path);
    await kube.apply([object], { namespace });
  }

  async function startPod(name: string, serviceAccountName: string): Promise<void> {
    const csi = {
      ...{ driver: driverName, readOnly: true },
      volumeAttributes: { secretProviderClass: spc?.metadata.name },
    };
    made.push(`/api/v1/namespaces/${namespace}/pods/${name}`);
    await kube.post(`/api/v1/namespaces/${namespace}/pods`, {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name } },
      spec: {
        ...{ serviceAccountName, volumes: [{ name: 'secrets', csi }] },
        ...(trial.node !== undefined && { nodeName: trial.node }),
        containers: [
          { name: 'app', image: trial.image, volumeMounts: [{ name: 'secrets', mountPath: '/secrets' }] },
        ],
      },
    });
  }

  /** `Reason: message` of the pod's events that speak of its volume. */
  async function events(pod: string): Promise<readonly string[]> {
    type Event = { involvedObject: { name: string }; reason: string; message: string };
    const all = await kube.list<Event>(`/api/v1/namespaces/${namespace}/events`);
    return all
      .filter(({ involvedObject, reason }) => involvedObject.name === pod && reason.startsWith('Failed'))
      .map(({ reason, message }) => `${reason}: ${message}`);
  }

  try {
    await kube.get(`/apis/storage.k8s.io/v1/csidrivers/${driverName}`);
    for (const object of objects) await apply(object);
    const name = 'keyferry-e2e';
    await startPod(name, account);
    await eventually(
      async () => ({
        pod: await kube.get<Pod>(`/api/v1/namespaces/${namespace}/pods/${name}`),
        events: await events(name),
      }),
      (seen) => expect(seen).toMatchObject({ pod: { status: { phase: 'Running' } }, events: [] }),
      patienceMs,
    );
    const statuses = `${group}/namespaces/${namespace}/secretproviderclasspodstatuses`;
    type Status = { status: { mounted: boolean; objects: { id: string; version: string }[] } };
    const { status } = await kube.get<Status>(`${statuses}/${name}-${namespace}-${spc.metadata.name}`);
    expect(status.mounted).toBe(true);
    expect(status.objects).not.toEqual([]);
    for (const { id, version } of status.objects) say(`${name} has ${id} in version ${version}`);
    for (const { secretName, data } of spc.spec.secretObjects ?? [])
      await eventually(
        async () => (await kube.request('GET', `/api/v1/namespaces/${namespace}/secrets/${secretName}`)).body,
        (body) => {
          const { data: found = {} } = body as { data?: Record<string, string> };
          expect(Object.keys(found)).toEqual(expect.arrayContaining(data.map(({ key }) => key)));
        },
        patienceMs,
      );

    await apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: stranger, namespace } });
    await startPod(stranger, stranger);
    await eventually(
      () => events(stranger),
      (lines) =>
        expect(lines.join('\n')).toMatch(
          /code = (PermissionDenied|Unauthenticated|NotFound|FailedPrecondition)/,
        ),
      patienceMs,
    );
    say(`${stranger} is told: ${(await events(stranger)).at(-1) ?? ''}`);
  } finally {
    for (const path of made.reverse()) await kube.delete(path);
  }
}
