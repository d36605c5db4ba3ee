import type { SecretProviderClass } from '../driver/cluster.ts';
import {
  parseObjects,
  type KubeResponse,
  type KubeClient,
  type KubeObject,
} from '../driver/kube-client.ts';
import { driverName } from '../driver/node.ts';

/** The label of every object that the suite creates in the cluster of a user. */
export const managedByLabels = { 'app.kubernetes.io/managed-by': 'keyferry-e2e' };
export const managedBySelector = 'app.kubernetes.io/managed-by=keyferry-e2e';
/** The names of its two pods, and of the ServiceAccount of the second one. */
export const allowedPodName = 'keyferry-e2e';
export const deniedPodName = 'keyferry-e2e-stranger';

export const apiGroup = '/apis/secrets-store.csi.x-k8s.io/v1';
const manifestKinds = ['ServiceAccount', 'Secret', 'ConfigMap', 'SecretProviderClass'];

/** The test that a manifest describes. */
export type ParsedManifest = {
  readonly spc: KubeObject & SecretProviderClass;
  readonly namespace: string;
  /** The objects that its pod needs, with the class, without a Namespace. */
  readonly objects: readonly KubeObject[];
};

/** @throws Error if the manifest cannot be tried */
export function parseManifest(manifest: string): ParsedManifest {
  const all = parseObjects(manifest);
  const classes = all.filter(({ kind }) => kind === 'SecretProviderClass');
  const [spc, secondClass] = classes as (KubeObject & SecretProviderClass)[];
  if (spc === undefined || secondClass !== undefined)
    throw new Error(
      `the manifest has ${classes.length} SecretProviderClasses: leave one, with what its pod needs`,
    );
  const namespace = spc.metadata.namespace ?? 'default';
  const objects = all.filter(({ kind }) => manifestKinds.includes(kind));
  const objectElsewhere = objects.find(
    ({ metadata }) => (metadata.namespace ?? 'default') !== namespace,
  );
  if (objectElsewhere !== undefined)
    throw new Error(
      `${describeObject(objectElsewhere)} is in another namespace than its class, which is in ${namespace}: put all into one`,
    );
  return { spc, namespace, objects };
}

/**
 * Checks whether a test can run in a cluster without changing existing objects.
 * @param useNamespace the namespace that may already exist
 * @returns whether the namespace already exists
 * @throws Error that names the obstacle and the remedy
 */
export async function checkCluster(
  kube: KubeClient,
  { spc, namespace, objects }: ParsedManifest,
  {
    useNamespace,
    report,
  }: { readonly useNamespace?: string; readonly report: (line: string) => void },
): Promise<boolean> {
  await checkReachable(kube);
  await checkDriver(kube, report);
  const namespaceExists = await checkNamespace(kube, namespace, useNamespace);
  await checkPermissions(kube, spc, namespace, namespaceExists);
  if (!namespaceExists) return false;
  const secrets = (spc.spec.secretObjects ?? []).map(({ secretName }) => secretName);
  const pathsToCreate = [
    ...(await Promise.all(objects.map((object) => kube.pathOf(object)))),
    ...secrets.map((name) => `/api/v1/namespaces/${namespace}/secrets/${name}`),
    ...[allowedPodName, deniedPodName].map(
      (name) => `/api/v1/namespaces/${namespace}/pods/${name}`,
    ),
    `/api/v1/namespaces/${namespace}/serviceaccounts/${deniedPodName}`,
  ];
  for (const path of pathsToCreate) {
    const response = await kube.request('GET', path);
    if (response.status === 404) continue;
    const [name, kind] = path.split('/').reverse();
    if (isCreatedBySuite(response)) throw new Error(leftoverMessage(namespace));
    if (response.status === 200)
      throw new Error(
        `${namespace} has ${kind ?? ''}/${name ?? ''} already, and the test changes no existing object: rename it in the manifest${
          kind === 'serviceaccounts'
            ? ', or remove it there and set SERVICE_ACCOUNT=' + (name ?? '')
            : ''
        }`,
      );
    throw apiError(`look for ${kind ?? ''}/${name ?? ''}`, response);
  }
  return true;
}

async function checkReachable(kube: KubeClient): Promise<void> {
  const response = await kube.request('GET', '/version');
  if (response.status === 401)
    throw new Error(
      `the API server rejects your credentials: ${responseText(response)}; log in as for kubectl get nodes`,
    );
  if (response.status !== 200)
    throw new Error(
      `the API server cannot be reached: ${responseText(response)}; try kubectl version`,
    );
}

async function checkDriver(kube: KubeClient, report: (line: string) => void): Promise<void> {
  const apiGroupResponse = await kube.request('GET', apiGroup);
  if (apiGroupResponse.status === 404)
    throw new Error(
      'the cluster has no SecretProviderClasses: install the Secrets Store CSI driver 1.3 or newer with its CRDs, then Keyferry; see docs/install.md',
    );
  const driver = await kube.request('GET', `/apis/storage.k8s.io/v1/csidrivers/${driverName}`);
  if (driver.status === 404)
    throw new Error(
      `the cluster has no CSIDriver ${driverName}, only its CRDs: install the Secrets Store CSI driver 1.3 or newer, then Keyferry; see docs/install.md`,
    );
  if (driver.status !== 200) return report(`the CSIDriver cannot be read: ${responseText(driver)}`);
  const { spec } = driver.body as { spec: { tokenRequests?: readonly { audience: string }[] } };
  const audiences = (spec.tokenRequests ?? []).map(
    ({ audience }) => audience || "the API server's own",
  );
  report(`the driver sends tokens for: ${audiences.join(', ') || 'no audience'}`);
}

/** Whether the object exists. */
async function checkNamespace(
  kube: KubeClient,
  namespace: string,
  useNamespace?: string,
): Promise<boolean> {
  const response = await kube.request('GET', `/api/v1/namespaces/${namespace}`);
  if (response.status === 404) return false;
  if (response.status === 200) {
    const { metadata } = response.body as KubeObject;
    if (metadata.deletionTimestamp !== undefined)
      throw new Error(
        `namespace ${namespace} is being deleted: wait for its end, or take another one`,
      );
    if (isCreatedBySuite(response)) throw new Error(leftoverMessage(namespace));
  } else if (response.status !== 403) throw apiError(`look for namespace ${namespace}`, response);
  if (useNamespace === namespace) return true;
  throw new Error(
    response.status === 403
      ? `you may not see whether namespace ${namespace} exists; if it does, and the test may use it, set USE_NAMESPACE=${namespace}`
      : `namespace ${namespace} exists already, and the test does not change it: put another one into the manifest, or, if your store identifies pods by this one, set USE_NAMESPACE=${namespace}. Then the test adds objects to it and removes them again, and changes no existing object`,
  );
}

async function checkPermissions(
  kube: KubeClient,
  { spec }: SecretProviderClass,
  namespace: string,
  namespaceExists: boolean,
): Promise<void> {
  const driverGroup = 'secrets-store.csi.x-k8s.io';
  const permissions = [
    ...(namespaceExists ? [] : ['create namespaces', 'delete namespaces']),
    ...['create pods', 'get pods', 'delete pods', 'list events'],
    ...['create serviceaccounts', 'get serviceaccounts', 'delete serviceaccounts'],
    ...[
      `create secretproviderclasses ${driverGroup}`,
      `delete secretproviderclasses ${driverGroup}`,
    ],
    `get secretproviderclasspodstatuses ${driverGroup}`,
    ...(spec.secretObjects === undefined ? [] : ['get secrets']),
  ];
  const missingByPermission = await Promise.all(
    permissions.map(async (permission) => {
      const [verb, resource, apiGroup = ''] = permission.split(' ');
      const review = await kube.post<{ status: { allowed: boolean } }>(
        '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
        {
          ...{ apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview' },
          spec: { resourceAttributes: { verb, resource, group: apiGroup, namespace } },
        },
      );
      return review.status.allowed ? [] : [`${verb ?? ''} ${resource ?? ''}`];
    }),
  );
  const missing = missingByPermission.flat();
  if (missing.length > 0)
    throw new Error(
      `you may not ${missing.join(', ')} in namespace ${namespace}: request a role with these rights, or use another context`,
    );
}

/** Whether a response is an object that the suite has created. */
export function isCreatedBySuite({ status, body }: KubeResponse): boolean {
  return (
    status === 200 &&
    (body as KubeObject).metadata.labels?.['app.kubernetes.io/managed-by'] === 'keyferry-e2e'
  );
}

function leftoverMessage(namespace: string): string {
  return `an earlier run was killed, or still runs: its objects in ${namespace} still exist; remove them: ${removalCommand(namespace)}`;
}

/** A name for messages. */
export function removalCommand(namespace: string): string {
  return `kubectl -n ${namespace} delete pods,serviceaccounts,secrets,configmaps,secretproviderclasses -l ${managedBySelector}; kubectl delete namespaces -l ${managedBySelector},kubernetes.io/metadata.name=${namespace}`;
}

/** `Kind/name`. */
export function describeObject({ kind, metadata }: KubeObject): string {
  return `${kind}/${metadata.name}`;
}

export function apiError(action: string, response: KubeResponse): Error {
  return new Error(`the API server rejects the request to ${action}: ${responseText(response)}`);
}

function responseText({ status, body }: KubeResponse): string {
  const { message } = typeof body === 'string' ? { message: body } : (body as { message?: string });
  return `${status} ${(message ?? '').trim()}`;
}
