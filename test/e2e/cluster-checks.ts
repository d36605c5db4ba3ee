import type { SecretProviderClass } from '../driver/cluster.ts';
import { parseObjects, type KubeAnswer, type KubeClient, type KubeObject } from '../driver/kube-client.ts';
import { driverName } from '../driver/node.ts';

/** On everything that the suite makes in a user's cluster. */
export const mark = { 'app.kubernetes.io/managed-by': 'keyferry-e2e' };
export const selector = 'app.kubernetes.io/managed-by=keyferry-e2e';
/** The names of its two pods, and of the second one's ServiceAccount. */
export const friend = 'keyferry-e2e';
export const stranger = 'keyferry-e2e-stranger';

export const group = '/apis/secrets-store.csi.x-k8s.io/v1';
const kinds = ['ServiceAccount', 'Secret', 'ConfigMap', 'SecretProviderClass'];

/** What a manifest asks to be tried. */
export type Wish = {
  readonly spc: KubeObject & SecretProviderClass;
  readonly namespace: string;
  /** What its pod needs, the class too; no Namespace. */
  readonly objects: readonly KubeObject[];
};

/** @throws Error where the manifest is none that can be tried */
export function wishOf(manifest: string): Wish {
  const all = parseObjects(manifest);
  const classes = all.filter(({ kind }) => kind === 'SecretProviderClass');
  const [spc, another] = classes as (KubeObject & SecretProviderClass)[];
  if (spc === undefined || another !== undefined)
    throw new Error(
      `the manifest has ${classes.length} SecretProviderClasses: leave one, with what its pod needs`,
    );
  const namespace = spc.metadata.namespace ?? 'default';
  const objects = all.filter(({ kind }) => kinds.includes(kind));
  const elsewhere = objects.find(({ metadata }) => (metadata.namespace ?? 'default') !== namespace);
  if (elsewhere !== undefined)
    throw new Error(
      `${titleOf(elsewhere)} is in another namespace than its class, which is in ${namespace}: put all into one`,
    );
  return { spc, namespace, objects };
}

/**
 * Looks whether a wish can be tried in a cluster without changing anything that is there.
 * @param useNamespace the namespace that may be there already
 * @returns whether the namespace is there already
 * @throws Error that names what is in the way, and what to do
 */
export async function checkCluster(
  kube: KubeClient,
  { spc, namespace, objects }: Wish,
  { useNamespace, say }: { readonly useNamespace?: string; readonly say: (line: string) => void },
): Promise<boolean> {
  await checkReachable(kube);
  await checkDriver(kube, say);
  const exists = await checkNamespace(kube, namespace, useNamespace);
  await checkRights(kube, spc, namespace, exists);
  if (!exists) return false;
  const secrets = (spc.spec.secretObjects ?? []).map(({ secretName }) => secretName);
  const ours = [
    ...(await Promise.all(objects.map((object) => kube.pathOf(object)))),
    ...secrets.map((name) => `/api/v1/namespaces/${namespace}/secrets/${name}`),
    ...[friend, stranger].map((name) => `/api/v1/namespaces/${namespace}/pods/${name}`),
    `/api/v1/namespaces/${namespace}/serviceaccounts/${stranger}`,
  ];
  for (const path of ours) {
    const answer = await kube.request('GET', path);
    if (answer.status === 404) continue;
    const [name, kind] = path.split('/').reverse();
    if (isOurs(answer)) throw new Error(leftover(namespace));
    if (answer.status === 200)
      throw new Error(
        `${namespace} has ${kind ?? ''}/${name ?? ''} already, and nothing that is there is touched: rename it in the manifest${
          kind === 'serviceaccounts' ? ', or take it out and say SERVICE_ACCOUNT=' + (name ?? '') : ''
        }`,
      );
    throw refused(`look for ${kind ?? ''}/${name ?? ''}`, answer);
  }
  return true;
}

async function checkReachable(kube: KubeClient): Promise<void> {
  const answer = await kube.request('GET', '/version');
  if (answer.status === 401)
    throw new Error(`the API server does not know you: ${textOf(answer)}; log in as for kubectl get nodes`);
  if (answer.status !== 200)
    throw new Error(`the API server cannot be reached: ${textOf(answer)}; try kubectl version`);
}

async function checkDriver(kube: KubeClient, say: (line: string) => void): Promise<void> {
  const kindsAnswer = await kube.request('GET', group);
  if (kindsAnswer.status === 404)
    throw new Error(
      'the cluster has no SecretProviderClasses: install the Secrets Store CSI driver 1.3 or newer with its CRDs, then Keyferry; see docs/install.md',
    );
  const driver = await kube.request('GET', `/apis/storage.k8s.io/v1/csidrivers/${driverName}`);
  if (driver.status === 404)
    throw new Error(
      `the cluster has no CSIDriver ${driverName}, only its CRDs: install the Secrets Store CSI driver 1.3 or newer, then Keyferry; see docs/install.md`,
    );
  if (driver.status !== 200) return say(`the CSIDriver cannot be looked at: ${textOf(driver)}`);
  const { spec } = driver.body as { spec: { tokenRequests?: readonly { audience: string }[] } };
  const audiences = (spec.tokenRequests ?? []).map(({ audience }) => audience || "the API server's own");
  say(`the driver brings tokens for: ${audiences.join(', ') || 'nobody'}`);
}

/** Whether it is there. */
async function checkNamespace(kube: KubeClient, namespace: string, useNamespace?: string): Promise<boolean> {
  const answer = await kube.request('GET', `/api/v1/namespaces/${namespace}`);
  if (answer.status === 404) return false;
  if (answer.status === 200) {
    const { metadata } = answer.body as KubeObject;
    if (metadata.deletionTimestamp !== undefined)
      throw new Error(`namespace ${namespace} is being deleted: wait for its end, or take another one`);
    if (isOurs(answer)) throw new Error(leftover(namespace));
  } else if (answer.status !== 403) throw refused(`look for namespace ${namespace}`, answer);
  if (useNamespace === namespace) return true;
  throw new Error(
    answer.status === 403
      ? `you may not see whether namespace ${namespace} exists; if it does, and may be used, say USE_NAMESPACE=${namespace}`
      : `namespace ${namespace} exists already, and is not touched: put another one into the manifest, or, if your store knows pods by this one, say USE_NAMESPACE=${namespace}. Then things are added to it and removed again, and nothing that is there is changed`,
  );
}

async function checkRights(
  kube: KubeClient,
  { spec }: SecretProviderClass,
  namespace: string,
  exists: boolean,
): Promise<void> {
  const driverGroup = 'secrets-store.csi.x-k8s.io';
  const rights = [
    ...(exists ? [] : ['create namespaces', 'delete namespaces']),
    ...['create pods', 'get pods', 'delete pods', 'list events'],
    ...['create serviceaccounts', 'get serviceaccounts', 'delete serviceaccounts'],
    ...[`create secretproviderclasses ${driverGroup}`, `delete secretproviderclasses ${driverGroup}`],
    `get secretproviderclasspodstatuses ${driverGroup}`,
    ...(spec.secretObjects === undefined ? [] : ['get secrets']),
  ];
  const answers = await Promise.all(
    rights.map(async (right) => {
      const [verb, resource, group = ''] = right.split(' ');
      const review = await kube.post<{ status: { allowed: boolean } }>(
        '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
        {
          ...{ apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview' },
          spec: { resourceAttributes: { verb, resource, group, namespace } },
        },
      );
      return review.status.allowed ? [] : [`${verb ?? ''} ${resource ?? ''}`];
    }),
  );
  const missing = answers.flat();
  if (missing.length > 0)
    throw new Error(
      `you may not ${missing.join(', ')} in namespace ${namespace}: ask for a role that may, or take another context`,
    );
}

/** Whether an answer is an object that the suite has made. */
export function isOurs({ status, body }: KubeAnswer): boolean {
  return (
    status === 200 &&
    (body as KubeObject).metadata.labels?.['app.kubernetes.io/managed-by'] === 'keyferry-e2e'
  );
}

function leftover(namespace: string): string {
  return `an earlier run was killed, or goes on: its things in ${namespace} are still there; remove them: ${howToRemove(namespace)}`;
}

/** For people. */
export function howToRemove(namespace: string): string {
  return `kubectl -n ${namespace} delete pods,serviceaccounts,secrets,configmaps,secretproviderclasses -l ${selector}; kubectl delete namespaces -l ${selector},kubernetes.io/metadata.name=${namespace}`;
}

/** `Kind/name`. */
export function titleOf({ kind, metadata }: KubeObject): string {
  return `${kind}/${metadata.name}`;
}

export function refused(what: string, answer: KubeAnswer): Error {
  return new Error(`the API server refuses to ${what}: ${textOf(answer)}`);
}

function textOf({ status, body }: KubeAnswer): string {
  const { message } = typeof body === 'string' ? { message: body } : (body as { message?: string });
  return `${status} ${(message ?? '').trim()}`;
}
