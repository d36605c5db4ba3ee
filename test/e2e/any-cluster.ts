import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeClient, KubeObject } from '../driver/kube-client.ts';
import { driverName } from '../driver/node.ts';
import {
  checkCluster,
  friend,
  group,
  howToRemove,
  isOurs,
  mark,
  refused,
  stranger,
  titleOf,
  wishOf,
} from './cluster-checks.ts';

/** What is to be tried in a cluster that has the driver and Keyferry. */
export type Trial = {
  readonly kube: KubeClient;
  /** YAML: one SecretProviderClass, and what its pods need, such as a ServiceAccount; other kinds are left out. */
  readonly manifest: string;
  /** Default: the manifest's one, or `default`. */
  readonly serviceAccount?: string;
  readonly image: string;
  /** A node for the pods; default: the scheduler's choice. */
  readonly node?: string;
  /** The namespace that may be used though it exists already. */
  readonly useNamespace?: string;
  /** How long a pod may take, in milliseconds. */
  readonly patienceMs: number;
  readonly say: (line: string) => void;
  /** Ends the trial early; what was made is removed all the same. */
  readonly signal: AbortSignal;
};

type Waiting = { readonly reason: string; readonly message?: string };
type Pod = KubeObject & {
  readonly status?: {
    readonly phase?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message?: string;
    }[];
    readonly containerStatuses?: readonly { readonly state?: { readonly waiting?: Waiting } }[];
  };
};
/** What was made; whether it was is not known before the answer, and its uid neither. */
type Made = { readonly path: string; uid?: string };
type Seen = { readonly pod: Pod; readonly events: readonly string[] };

/**
 * Tries a class in a cluster: its pod runs and has a status and the Secrets it promises; a pod of a ServiceAccount that nobody has given anything
 * waits, and is told why. Changes nothing that was there before, and removes what it has made.
 * @throws Error that says what is amiss and what to do
 */
export async function tryCluster(trial: Trial): Promise<void> {
  const { kube, say, patienceMs, signal } = trial;
  const wish = wishOf(trial.manifest);
  const { spc, namespace, objects } = wish;
  const exists = await checkCluster(kube, wish, trial);
  const account =
    trial.serviceAccount ?? objects.find(({ kind }) => kind === 'ServiceAccount')?.metadata.name ?? 'default';
  const made: Made[] = [];
  const inNamespace = `/api/v1/namespaces/${namespace}`;

  /** Noted before it is asked for: an answer can be lost. */
  async function make(object: KubeObject): Promise<KubeObject> {
    signal.throwIfAborted();
    const { metadata } = object;
    const marked = { ...object, metadata: { ...metadata, labels: { ...metadata.labels, ...mark } } };
    const path = await kube.pathOf(object, namespace);
    const collection = path.slice(0, path.lastIndexOf('/'));
    const one: Made = { path };
    made.push(one);
    const answer = await kube.request('POST', collection, marked);
    if (answer.status < 300) {
      const object = answer.body as KubeObject;
      if (object.metadata.uid !== undefined) one.uid = object.metadata.uid;
      return object;
    }
    // Of a server in trouble nobody knows whether it has made it.
    if (answer.status < 500) made.pop();
    // Every new namespace gets its account `default` from the cluster.
    if (answer.status === 409 && !exists && titleOf(object) === 'ServiceAccount/default') {
      const [applied] = await kube.apply([marked], { namespace });
      if (applied !== undefined) return applied;
    }
    throw refused(`make ${titleOf(object)} in namespace ${namespace}`, answer);
  }

  async function events({ metadata }: Pod): Promise<readonly string[]> {
    type Event = { involvedObject: { uid?: string }; type?: string; reason: string; message: string };
    const all = await kube.list<Event>(
      `${inNamespace}/events?fieldSelector=involvedObject.name%3D${metadata.name}`,
    );
    return all
      .filter(({ involvedObject, type }) => involvedObject.uid === metadata.uid && type === 'Warning')
      .map(({ reason, message }) => `${reason}: ${message}`);
  }

  /** Looks until it is there, at most as long as patience lasts; then `why` tells. */
  async function until<T>(
    look: () => Promise<T | undefined>,
    why: () => string,
    timeoutMs = patienceMs,
  ): Promise<T> {
    for (const late = Date.now() + timeoutMs; ; await sleep(250, undefined, { signal })) {
      signal.throwIfAborted();
      const found = await look();
      if (found !== undefined) return found;
      if (Date.now() > late) throw new Error(why());
    }
  }

  /** Starts a pod, and waits until it is as wished; every warning about it is said once. */
  async function startPod(
    name: string,
    serviceAccount: string,
    fits: (seen: Seen) => boolean,
  ): Promise<Seen> {
    const { metadata } = await make(podOf(name, serviceAccount, spc.metadata.name, trial));
    const said = new Set<string>();
    let last: Seen | undefined;
    return until(
      async () => {
        const pod = await kube.get<Pod>(`${inNamespace}/pods/${name}`);
        if (pod.metadata.uid !== metadata.uid) throw new Error(`somebody has replaced pod ${name}`);
        last = { pod, events: await events(pod) };
        for (const line of last.events.filter((each) => !said.has(each))) {
          said.add(line);
          say(`${name} is told: ${line}`);
        }
        const image = imageTrouble(pod);
        if (image !== undefined)
          throw new Error(
            `the image ${trial.image} cannot be pulled: ${image}; name one that the nodes can by POD_IMAGE=... (in kind: kind load docker-image)`,
          );
        return fits(last) ? last : undefined;
      },
      () => `pod ${name} is not as it should be after ${patienceMs / 1000} s: ${plight(last)}`,
    );
  }

  /** The account `default` of a new namespace comes a moment later. */
  async function checkAccount(): Promise<void> {
    const path = `${inNamespace}/serviceaccounts/${account}`;
    await until(
      async () => ((await kube.request('GET', path)).status === 200 ? true : undefined),
      () =>
        `namespace ${namespace} has no ServiceAccount ${account}: put it into the manifest, or name another by SERVICE_ACCOUNT=...`,
      Math.min(patienceMs, 10_000),
    );
  }

  async function checkStatus(): Promise<void> {
    type Status = { status: { mounted: boolean; objects: { id: string; version: string }[] } };
    const name = `${friend}-${namespace}-${spc.metadata.name}`;
    const { status } = await until(
      async () => {
        const path = `${group}/namespaces/${namespace}/secretproviderclasspodstatuses/${name}`;
        const { status, body } = await kube.request('GET', path);
        return status === 200 ? (body as Status) : undefined;
      },
      () => `the pod runs, but the driver has not written SecretProviderClassPodStatus ${name}: see its log`,
    );
    for (const { id, version } of status.objects) say(`${friend} has ${id} in version ${version}`);
    if (!status.mounted || status.objects.length === 0)
      throw new Error(`SecretProviderClassPodStatus ${name} lists no files: see the driver's log`);
  }

  async function checkSecrets(): Promise<void> {
    for (const { secretName, data } of spc.spec.secretObjects ?? [])
      await until(
        async () => {
          const { status, body } = await kube.request('GET', `${inNamespace}/secrets/${secretName}`);
          const { data: found = {} } = body as { data?: Record<string, string> };
          return status === 200 && data.every(({ key }) => key in found) ? found : undefined;
        },
        () =>
          `Secret ${secretName} with ${data.map(({ key }) => key).join(', ')} did not come: set syncSecret.enabled=true in the driver's chart, or take secretObjects out of the manifest`,
      );
  }

  async function checkStranger(): Promise<void> {
    await make({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: stranger, namespace } });
    const refusal = /code = (PermissionDenied|Unauthenticated|NotFound|FailedPrecondition)/;
    await startPod(stranger, stranger, ({ pod, events }) => {
      if (pod.status?.phase === 'Running')
        throw new Error(
          `a pod of ServiceAccount ${stranger}, to which nobody has given anything, got the files of class ${spc.metadata.name}: look at sharedIdentities in Keyferry's values, and at whom the store lets in`,
        );
      return events.some((line) => refusal.test(line));
    });
  }

  try {
    if (!exists) await make({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
    for (const object of objects) await make(object);
    await checkAccount();
    await startPod(friend, account, ({ pod }) => pod.status?.phase === 'Running');
    await checkStatus();
    await checkSecrets();
    await checkStranger();
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    await remove(kube, made, namespace, say);
  }
}

/** As a namespace that enforces the Pod Security Standard `restricted` wants it. */
function podOf(
  name: string,
  serviceAccountName: string,
  secretProviderClass: string,
  { image, node }: Trial,
): KubeObject {
  const csi = { driver: driverName, readOnly: true, volumeAttributes: { secretProviderClass } };
  const securityContext = {
    ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
  };
  const resources = { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '32Mi' } };
  const volumeMounts = [{ name: 'secrets', mountPath: '/secrets', readOnly: true }];
  const spec = {
    ...{ serviceAccountName, automountServiceAccountToken: false, volumes: [{ name: 'secrets', csi }] },
    ...(node !== undefined && { nodeName: node }),
    securityContext: { runAsNonRoot: true, runAsUser: 65535, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [{ name: 'app', image, resources, securityContext, volumeMounts }],
  };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec } as KubeObject;
}

function imageTrouble({ status }: Pod): string | undefined {
  const waiting = (status?.containerStatuses ?? []).map(({ state }) => state?.waiting);
  const trouble = waiting.find((one) => /^(ImagePullBackOff|InvalidImageName)$/.test(one?.reason ?? ''));
  return trouble && `${trouble.reason}: ${trouble.message ?? ''}`;
}

/** Why a pod waits, as far as its events and its status tell. */
function plight(seen: Seen | undefined): string {
  const unscheduled = seen?.pod.status?.conditions?.find(
    ({ type, status }) => type === 'PodScheduled' && status === 'False',
  );
  const told = seen?.events.at(-1) ?? unscheduled?.message;
  return `it is ${seen?.pod.status?.phase ?? 'not there'}; ${told ?? 'nobody says why: is Keyferry there on its node, and the driver?'}`;
}

/** Removes what was made and nothing that somebody else has made since. @throws Error that says why it is still there */
async function removeOne(kube: KubeClient, { path, uid }: Made): Promise<void> {
  const found = await kube.request('GET', path);
  if (found.status === 404) return;
  const there = found.status === 200 ? (found.body as KubeObject).metadata.uid : undefined;
  const isMade = uid === undefined ? isOurs(found) : there === undefined || there === uid;
  if (!isMade) throw new Error("it may be somebody else's");
  const preconditions = { uid: uid ?? there };
  const answer = await kube.request('DELETE', path, { gracePeriodSeconds: 0, preconditions });
  if (answer.status >= 300 && answer.status !== 404) throw refused('delete it', answer);
}

/** Goes on past what cannot be removed, and says so. */
async function remove(
  kube: KubeClient,
  made: readonly Made[],
  namespace: string,
  say: (line: string) => void,
): Promise<void> {
  const left: string[] = [];
  for (const one of [...made].reverse())
    await removeOne(kube, one).catch((error: unknown) => {
      left.push(one.path);
      say(`${one.path} is not removed: ${error instanceof Error ? error.message : String(error)}`);
    });
  if (left.length > 0) say(`remove what is left: ${howToRemove(namespace)}`);
}
