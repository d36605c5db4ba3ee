import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeClient, KubeObject } from '../driver/kube-client.ts';
import { driverName } from '../driver/node.ts';
import { startControlPlane, type ControlPlane } from '../servers/control-plane/control-plane.ts';

/** The ServiceAccount of Keyferry in the cluster, as in the chart. */
const keyferry = { namespace: 'kube-system', name: 'keyferry' };
export const keyferryUser = `system:serviceaccount:${keyferry.namespace}:${keyferry.name}`;

/** A pod with one volume of the driver. */
export type PodOptions = {
  readonly namespace?: string;
  readonly name: string;
  readonly serviceAccount?: string;
  readonly node: string;
  readonly class: string;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly nodePublishSecret?: string;
};

/**
 * A cluster with the kinds of the driver and the ServiceAccount of Keyferry. Tests create classes
 * and pods in it.
 */
export type Cluster = {
  readonly controlPlane: ControlPlane;
  readonly kube: KubeClient;
  /** `--kube-...` flags with the token of Keyferry's own ServiceAccount, and nothing more. */
  readonly keyferryArgs: readonly string[];
  /**
   * Gives the account of Keyferry exactly these rights. Does nothing if the last call had the same
   * list.
   */
  grant(objects: readonly KubeObject[]): Promise<void>;
  /** Whether Keyferry's account has a right, `verb group resource`. */
  isAllowed(permission: string): Promise<boolean>;
  /** The tokens that the driver requests from the kubelet. */
  setAudiences(audiences: readonly string[]): Promise<void>;
  /** Sets a ServiceAccount, `namespace/name`. Creates it and its namespace if they do not exist. */
  applyServiceAccount(name: string, annotations?: Readonly<Record<string, string>>): Promise<void>;
  /** A node by name; nothing runs on it. */
  createNode(name: string, labels: Readonly<Record<string, string>>): Promise<void>;
  startPod(podOptions: PodOptions): Promise<void>;
  deletePod(namespace: string, name: string): Promise<void>;
  /** Any object of a namespace, by its kind's plural name. */
  findObject<T = KubeObject>(
    namespace: string,
    plural: string,
    name: string,
  ): Promise<T | undefined>;
  /** `reason: message` of all Events on a pod. */
  events(namespace: string, pod: string): Promise<readonly string[]>;
  stop(): Promise<void>;
};

const apiPrefixes: Readonly<Record<string, string>> = {
  secretproviderclasses: '/apis/secrets-store.csi.x-k8s.io/v1',
  secretproviderclasspodstatuses: '/apis/secrets-store.csi.x-k8s.io/v1',
};
const rbacKinds = ['ClusterRole', 'ClusterRoleBinding', 'Role', 'RoleBinding'];

export async function startCluster(): Promise<Cluster> {
  const controlPlane = await startControlPlane();
  const { kube } = controlPlane;
  const directory = await mkdtemp(join(tmpdir(), 'kf-cluster-'));
  const tokenFile = join(directory, 'token');
  const crds = join(import.meta.dirname, '../servers/control-plane/secrets-store-crds.yaml');
  await kube.apply(await readFile(crds, 'utf8'));
  let granted: readonly KubeObject[] = [];
  let requestedObjects: readonly KubeObject[] | undefined;

  async function account(
    name: string,
    annotations: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const [namespace = '', account = ''] = name.split('/');
    await kube.apply([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
      {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: account, namespace, annotations },
      },
    ]);
  }

  async function setAudiences(audiences: readonly string[]): Promise<void> {
    const spec = {
      ...{ podInfoOnMount: true, attachRequired: false, requiresRepublish: true },
      ...{ volumeLifecycleModes: ['Ephemeral'], fsGroupPolicy: 'ReadWriteOnceWithFSType' },
      tokenRequests: audiences.map((audience) => ({ audience })),
    };
    await kube.apply([
      { apiVersion: 'storage.k8s.io/v1', kind: 'CSIDriver', metadata: { name: driverName }, spec },
    ]);
  }

  await account(`${keyferry.namespace}/${keyferry.name}`);
  await setAudiences([]);
  const accountPath = `/api/v1/namespaces/${keyferry.namespace}/serviceaccounts/${keyferry.name}`;
  const { status } = await kube.post<{ status: { token: string } }>(`${accountPath}/token`, {
    ...{ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
  });
  await writeFile(tokenFile, status.token);

  return {
    controlPlane,
    kube,
    keyferryArgs: [
      ...['--kube-server', controlPlane.server.origin, '--kube-token-file', tokenFile],
      ...['--kube-ca-file', controlPlane.caFile],
    ],
    async grant(objects) {
      if (objects === requestedObjects) return;
      requestedObjects = objects;
      const before = permissionsOf(granted);
      for (const object of granted) await kube.delete(await kube.pathOf(object));
      granted = objects.filter(({ kind }) => rbacKinds.includes(kind));
      await kube.apply(granted);
      const now = permissionsOf(granted);
      for (const permission of new Set([...before, ...now]))
        await waitForPermission(kube, permission, now.has(permission));
    },
    isAllowed: (permission) => isAllowed(kube, permission),
    setAudiences,
    applyServiceAccount: account,
    async createNode(name, labels) {
      await kube.apply([{ apiVersion: 'v1', kind: 'Node', metadata: { name, labels } }]);
    },
    async startPod({
      namespace = 'default',
      name,
      serviceAccount = 'default',
      node,
      ...podOptions
    }) {
      const csi = {
        ...{ driver: driverName, readOnly: true },
        volumeAttributes: { secretProviderClass: podOptions.class, ...podOptions.attributes },
        ...(podOptions.nodePublishSecret && {
          nodePublishSecretRef: { name: podOptions.nodePublishSecret },
        }),
      };
      await kube.post(`/api/v1/namespaces/${namespace}/pods`, {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name } },
        spec: {
          ...{
            nodeName: node,
            serviceAccountName: serviceAccount,
            volumes: [{ name: 'secrets', csi }],
          },
          containers: [
            {
              name: 'app',
              image: 'app',
              volumeMounts: [{ name: 'secrets', mountPath: '/secrets' }],
            },
          ],
        },
      });
    },
    deletePod: (namespace, name) => kube.delete(`/api/v1/namespaces/${namespace}/pods/${name}`),
    async findObject<T>(namespace: string, plural: string, name: string) {
      const path = `${apiPrefixes[plural] ?? '/api/v1'}/namespaces/${namespace}/${plural}/${name}`;
      const { status: found, body } = await kube.request('GET', path);
      return found === 200 ? (body as T) : undefined;
    },
    async events(namespace, pod) {
      type PodEvent = { involvedObject: { name: string }; reason: string; message: string };
      const all = await kube.list<PodEvent>(`/api/v1/namespaces/${namespace}/events`);
      return all
        .filter(({ involvedObject }) => involvedObject.name === pod)
        .map(({ reason, message }) => `${reason}: ${message}`);
    },
    async stop() {
      await controlPlane.stop();
      await rm(directory, { recursive: true });
    },
  };
}

/** The same rights without those for a resource. */
export function withoutResource(
  objects: readonly KubeObject[],
  resource: string,
): readonly KubeObject[] {
  type ObjectWithRules = KubeObject & {
    readonly rules?: readonly { readonly resources: readonly string[] }[];
  };
  return objects.map((object: ObjectWithRules) =>
    object.rules === undefined
      ? object
      : { ...object, rules: object.rules.filter(({ resources }) => !resources.includes(resource)) },
  );
}

/** `verb group resource` of all rules. */
export function permissionsOf(objects: readonly KubeObject[]): ReadonlySet<string> {
  type Rule = { apiGroups: string[]; resources: string[]; verbs: string[] };
  const rules = objects.flatMap(
    (object) => (object as KubeObject & { rules?: Rule[] }).rules ?? [],
  );
  return new Set(
    rules.flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => verbs.map((verb) => `${verb} ${group} ${resource}`)),
      ),
    ),
  );
}

async function isAllowed(kube: KubeClient, permission: string): Promise<boolean> {
  const [verb, group, path = ''] = permission.split(' ');
  const [resource, subresource] = path.split('/');
  const resourceAttributes = { verb, group, resource, subresource, namespace: 'default' };
  const groups = [
    'system:serviceaccounts',
    'system:serviceaccounts:kube-system',
    'system:authenticated',
  ];
  const { status } = await kube.post<{ status: { allowed: boolean } }>(
    '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    {
      ...{ apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview' },
      spec: { user: keyferryUser, groups, resourceAttributes },
    },
  );
  return status.allowed;
}

/** The authorizer applies new rules a moment later. */
async function waitForPermission(
  kube: KubeClient,
  permission: string,
  expected: boolean,
): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if ((await isAllowed(kube, permission)) === expected) return;
    await sleep(25);
  }
  throw new Error(`${permission} is ${expected ? 'not ' : ''}allowed to ${keyferryUser}`);
}
