import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeClient, KubeObject } from '../driver/kube-client.ts';
import { driverName } from '../driver/node.ts';
import {
  checkCluster,
  allowedPodName,
  apiGroup,
  removalCommand,
  isCreatedBySuite,
  managedByLabels,
  apiError,
  deniedPodName,
  describeObject,
  parseManifest,
} from './smoke-test-checks.ts';

/** A test for a cluster that has the driver and Keyferry. */
export type SmokeTestOptions = {
  readonly kube: KubeClient;
  /**
   * YAML: one SecretProviderClass and the objects that its pods need, such as a ServiceAccount.
   * Other kinds are ignored.
   */
  readonly manifest: string;
  /** Default: the namespace of the manifest, or `default`. */
  readonly serviceAccount?: string;
  readonly image: string;
  /** A node for the pods; default: the scheduler's choice. */
  readonly node?: string;
  /** The namespace that may be used although it already exists. */
  readonly useNamespace?: string;
  /** The time limit of a pod, in milliseconds. */
  readonly podTimeoutMs: number;
  readonly report: (line: string) => void;
  /** Stops the test early. All created objects are still removed. */
  readonly signal: AbortSignal;
};

type ContainerWaiting = { readonly reason: string; readonly message?: string };
type Pod = KubeObject & {
  readonly status?: {
    readonly phase?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message?: string;
    }[];
    readonly containerStatuses?: readonly {
      readonly state?: { readonly waiting?: ContainerWaiting };
    }[];
  };
};
/**
 * An object that the test creates. Before the response, neither its existence nor its uid is known.
 */
type CreatedObject = { readonly path: string; uid?: string };
type PodSnapshot = { readonly pod: Pod; readonly events: readonly string[] };

/**
 * Tests a class in a cluster. The pod of the class must run, with a status and the Secrets that the
 * class names. A pod of a ServiceAccount without any rights must wait, with an event that has the
 * reason. Changes no existing object, and removes all objects that it has created.
 * @throws Error that names the problem and the remedy
 */
export async function runSmokeTest(options: SmokeTestOptions): Promise<void> {
  const { kube, report, podTimeoutMs, signal } = options;
  const parsed = parseManifest(options.manifest);
  const { spc, namespace, objects } = parsed;
  const namespaceExists = await checkCluster(kube, parsed, options);
  const accountName =
    options.serviceAccount ??
    objects.find(({ kind }) => kind === 'ServiceAccount')?.metadata.name ??
    'default';
  const created: CreatedObject[] = [];
  const namespacePath = `/api/v1/namespaces/${namespace}`;

  /** Recorded before the request, because a response can be lost. */
  async function createObject(object: KubeObject): Promise<KubeObject> {
    signal.throwIfAborted();
    const { metadata } = object;
    const labelled = {
      ...object,
      metadata: { ...metadata, labels: { ...metadata.labels, ...managedByLabels } },
    };
    const path = await kube.pathOf(object, namespace);
    const collection = path.slice(0, path.lastIndexOf('/'));
    const entry: CreatedObject = { path };
    created.push(entry);
    const response = await kube.request('POST', collection, labelled);
    if (response.status < 300) {
      const object = response.body as KubeObject;
      if (object.metadata.uid !== undefined) entry.uid = object.metadata.uid;
      return object;
    }
    // After a server error it is unknown whether the object was created.
    if (response.status < 500) created.pop();
    // The cluster creates the account `default` of every new namespace.
    if (
      response.status === 409 &&
      !namespaceExists &&
      describeObject(object) === 'ServiceAccount/default'
    ) {
      const [applied] = await kube.apply([labelled], { namespace });
      if (applied !== undefined) return applied;
    }
    throw apiError(`make ${describeObject(object)} in namespace ${namespace}`, response);
  }

  async function events({ metadata }: Pod): Promise<readonly string[]> {
    type Event = {
      involvedObject: { uid?: string };
      type?: string;
      reason: string;
      message: string;
    };
    const all = await kube.list<Event>(
      `${namespacePath}/events?fieldSelector=involvedObject.name%3D${metadata.name}`,
    );
    return all
      .filter(
        ({ involvedObject, type }) => involvedObject.uid === metadata.uid && type === 'Warning',
      )
      .map(({ reason, message }) => `${reason}: ${message}`);
  }

  /**
   * Polls until the value is available or the time limit is over. Then it throws the message of
   * `why`.
   */
  async function waitFor<T>(
    probe: () => Promise<T | undefined>,
    timeoutMessage: () => string,
    timeoutMs = podTimeoutMs,
  ): Promise<T> {
    for (const deadline = Date.now() + timeoutMs; ; await sleep(250, undefined, { signal })) {
      signal.throwIfAborted();
      const found = await probe();
      if (found !== undefined) return found;
      if (Date.now() > deadline) throw new Error(timeoutMessage());
    }
  }

  /** Starts a pod, and waits until it has the expected state. Reports each of its warnings once. */
  async function startPod(
    name: string,
    serviceAccount: string,
    isReady: (snapshot: PodSnapshot) => boolean,
  ): Promise<PodSnapshot> {
    const { metadata } = await createObject(
      podOf(name, serviceAccount, spc.metadata.name, options),
    );
    const reported = new Set<string>();
    let last: PodSnapshot | undefined;
    return waitFor(
      async () => {
        const pod = await kube.get<Pod>(`${namespacePath}/pods/${name}`);
        if (pod.metadata.uid !== metadata.uid)
          throw new Error(`another client has replaced pod ${name}`);
        last = { pod, events: await events(pod) };
        for (const line of last.events.filter((each) => !reported.has(each))) {
          reported.add(line);
          report(`${name} has the event: ${line}`);
        }
        const image = imagePullError(pod);
        if (image !== undefined)
          throw new Error(
            `the image ${options.image} cannot be pulled: ${image}; name one that the nodes can by POD_IMAGE=... (in kind: kind load docker-image)`,
          );
        return isReady(last) ? last : undefined;
      },
      () =>
        `pod ${name} is not as it should be after ${podTimeoutMs / 1000} s: ${pendingReason(last)}`,
    );
  }

  /** The account `default` of a new namespace is created a moment later. */
  async function checkAccount(): Promise<void> {
    const path = `${namespacePath}/serviceaccounts/${accountName}`;
    await waitFor(
      async () => ((await kube.request('GET', path)).status === 200 ? true : undefined),
      () =>
        `namespace ${namespace} has no ServiceAccount ${accountName}: put it into the manifest, or name another by SERVICE_ACCOUNT=...`,
      Math.min(podTimeoutMs, 10_000),
    );
  }

  async function checkStatus(): Promise<void> {
    type Status = { status: { mounted: boolean; objects: { id: string; version: string }[] } };
    const name = `${allowedPodName}-${namespace}-${spc.metadata.name}`;
    const { status } = await waitFor(
      async () => {
        const path = `${apiGroup}/namespaces/${namespace}/secretproviderclasspodstatuses/${name}`;
        const { status, body } = await kube.request('GET', path);
        return status === 200 ? (body as Status) : undefined;
      },
      () =>
        `the pod runs, but the driver has not written SecretProviderClassPodStatus ${name}: see its log`,
    );
    for (const { id, version } of status.objects)
      report(`${allowedPodName} has ${id} in version ${version}`);
    if (!status.mounted || status.objects.length === 0)
      throw new Error(`SecretProviderClassPodStatus ${name} lists no files: see the driver's log`);
  }

  async function checkSecrets(): Promise<void> {
    for (const { secretName, data } of spc.spec.secretObjects ?? [])
      await waitFor(
        async () => {
          const { status, body } = await kube.request(
            'GET',
            `${namespacePath}/secrets/${secretName}`,
          );
          const { data: found = {} } = body as { data?: Record<string, string> };
          return status === 200 && data.every(({ key }) => key in found) ? found : undefined;
        },
        () =>
          `Secret ${secretName} with ${data.map(({ key }) => key).join(', ')} did not come: set syncSecret.enabled=true in the driver's chart, or take secretObjects out of the manifest`,
      );
  }

  async function checkDeniedPod(): Promise<void> {
    await createObject({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: deniedPodName, namespace },
    });
    const deniedPattern = /code = (PermissionDenied|Unauthenticated|NotFound|FailedPrecondition)/;
    await startPod(deniedPodName, deniedPodName, ({ pod, events }) => {
      if (pod.status?.phase === 'Running')
        throw new Error(
          `a pod of ServiceAccount ${deniedPodName}, which has no rights, got the files of class ${spc.metadata.name}: check sharedIdentities in the values of Keyferry, and which identities the store accepts`,
        );
      return events.some((line) => deniedPattern.test(line));
    });
  }

  try {
    if (!namespaceExists)
      await createObject({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
    for (const object of objects) await createObject(object);
    await checkAccount();
    await startPod(allowedPodName, accountName, ({ pod }) => pod.status?.phase === 'Running');
    await checkStatus();
    await checkSecrets();
    await checkDeniedPod();
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    await removeAll(kube, created, namespace, report);
  }
}

/** As a namespace with the Pod Security Standard `restricted` requires it. */
function podOf(
  name: string,
  serviceAccountName: string,
  secretProviderClass: string,
  { image, node }: SmokeTestOptions,
): KubeObject {
  const csi = { driver: driverName, readOnly: true, volumeAttributes: { secretProviderClass } };
  const securityContext = {
    ...{
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
  };
  const resources = { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '32Mi' } };
  const volumeMounts = [{ name: 'secrets', mountPath: '/secrets', readOnly: true }];
  const spec = {
    ...{
      serviceAccountName,
      automountServiceAccountToken: false,
      volumes: [{ name: 'secrets', csi }],
    },
    ...(node !== undefined && { nodeName: node }),
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 65535,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [{ name: 'app', image, resources, securityContext, volumeMounts }],
  };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec } as KubeObject;
}

function imagePullError({ status }: Pod): string | undefined {
  const waiting = (status?.containerStatuses ?? []).map(({ state }) => state?.waiting);
  const pullFailure = waiting.find((entry) =>
    /^(ImagePullBackOff|InvalidImageName)$/.test(entry?.reason ?? ''),
  );
  return pullFailure && `${pullFailure.reason}: ${pullFailure.message ?? ''}`;
}

/** The reason why a pod waits, from its events and its status. */
function pendingReason(snapshot: PodSnapshot | undefined): string {
  const unscheduled = snapshot?.pod.status?.conditions?.find(
    ({ type, status }) => type === 'PodScheduled' && status === 'False',
  );
  const reason = snapshot?.events.at(-1) ?? unscheduled?.message;
  return `it is ${snapshot?.pod.status?.phase ?? 'not there'}; ${reason ?? 'no event has a reason: check that Keyferry and the driver run on its node'}`;
}

/**
 * Removes the created objects, and none that another client has created since.
 * @throws Error with the reason why an object still exists
 */
async function removeObject(kube: KubeClient, { path, uid }: CreatedObject): Promise<void> {
  const found = await kube.request('GET', path);
  if (found.status === 404) return;
  const currentUid = found.status === 200 ? (found.body as KubeObject).metadata.uid : undefined;
  const isSameObject =
    uid === undefined ? isCreatedBySuite(found) : currentUid === undefined || currentUid === uid;
  if (!isSameObject) throw new Error('another client may own it');
  const preconditions = { uid: uid ?? currentUid };
  const response = await kube.request('DELETE', path, { gracePeriodSeconds: 0, preconditions });
  if (response.status >= 300 && response.status !== 404) throw apiError('delete it', response);
}

/** Reports objects that cannot be removed, and continues. */
async function removeAll(
  kube: KubeClient,
  created: readonly CreatedObject[],
  namespace: string,
  report: (line: string) => void,
): Promise<void> {
  const remaining: string[] = [];
  for (const entry of [...created].reverse())
    await removeObject(kube, entry).catch((error: unknown) => {
      remaining.push(entry.path);
      report(
        `${entry.path} is not removed: ${error instanceof Error ? error.message : String(error)}`,
      );
    });
  if (remaining.length > 0) report(`remove what is left: ${removalCommand(namespace)}`);
}
