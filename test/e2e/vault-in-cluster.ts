import { startTestVault } from '../servers/testvault/testvault.ts';
import type { ControlPlane } from '../servers/control-plane/control-plane.ts';

const reviewer = { namespace: 'vault', name: 'vault' };

/** The identities that a role of Vault accepts. */
export type VaultRole = {
  readonly name: string;
  readonly namespace: string;
  readonly account: string;
  readonly audience: string;
};

/**
 * A real Vault that belongs to a real cluster. Its method kubernetes sends each token to the API
 * server, with a ServiceAccount that has no other right. KV 2 is at `secret`, and every role may
 * read it.
 */
export async function startVaultInCluster(controlPlane: ControlPlane, roles: readonly VaultRole[]) {
  const { kube, server, ca } = controlPlane;
  await kube.apply([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: reviewer.namespace } },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: reviewer },
    {
      ...{ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRoleBinding' },
      metadata: { name: 'vault' },
      roleRef: {
        apiGroup: 'rbac.authorization.k8s.io',
        kind: 'ClusterRole',
        name: 'system:auth-delegator',
      },
      subjects: [{ kind: 'ServiceAccount', ...reviewer }],
    },
  ]);
  const { status } = await kube.post<{ status: { token: string } }>(
    `/api/v1/namespaces/${reviewer.namespace}/serviceaccounts/${reviewer.name}/token`,
    { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
  );
  const vault = await startTestVault();
  const { root } = vault;
  await root('PUT', 'sys/policies/acl/app', {
    policy: 'path "secret/*" { capabilities = ["read"] }',
  });
  await root('POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } });
  await root('POST', 'sys/auth/kubernetes', { type: 'kubernetes' });
  await root('POST', 'auth/kubernetes/config', {
    ...{ kubernetes_host: server.origin, kubernetes_ca_cert: ca },
    ...{ token_reviewer_jwt: status.token, disable_local_ca_jwt: true },
  });
  async function createLoginRole({ name, namespace, account, audience }: VaultRole): Promise<void> {
    await root('POST', `auth/kubernetes/role/${name}`, {
      ...{ bound_service_account_names: [account], bound_service_account_namespaces: [namespace] },
      ...{ audience, token_policies: ['app'], token_ttl: '1h' },
    });
  }
  for (const role of roles) await createLoginRole(role);
  return {
    ...vault,
    /** Creates or replaces a role. */
    createLoginRole,
    put: (path: string, data: Readonly<Record<string, string>>) =>
      root('POST', `secret/data/${path}`, { data }),
  };
}
