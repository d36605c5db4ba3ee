import { describe, expect, test } from '@jest/globals';
import { Redacted } from '../../core/redacted.ts';
import type { Workload } from '../../core/workload.ts';
import { createFingerprint } from '../shared/identity/fingerprint.ts';
import { resolveIdentity } from '../shared/identity/identity-source.ts';
import { readVaultSettings } from './config.ts';
import type { VaultIdentity, VaultLogin, VaultSession } from './types.ts';
import type { PodTokens } from './credentials/pod-tokens.ts';
import { createIdentitySources, createPrincipalOf } from './principals.ts';

const login: VaultLogin = {
  ...{
    dialect: 'vault',
    addresses: ['https://a:8200', 'https://b:8200'],
    method: 'kubernetes',
    mount: 'kubernetes',
  },
  ...{ role: 'app', audience: 'vault', tls: {}, leaseScope: 'pod' },
};
const workload: Workload = {
  tenant: 'team-a',
  identity: { name: 'app' },
  instance: 'uid-1',
  pod: { name: 'web-0', uid: 'uid-1' },
  volume: 'v',
  tokens: new Map(),
  secrets: new Map(),
};
type Claims = Awaited<ReturnType<PodTokens>>['claims'];
type Case = {
  readonly login?: Partial<VaultLogin>;
  readonly workload?: Partial<Workload>;
  readonly claims?: Partial<Claims>;
  readonly env?: Record<string, string>;
};

const fingerprint = createFingerprint();
async function principalOf(testCase: Case = {}, requestedIdentities: VaultIdentity[] = []) {
  const claims: Claims = {
    issuer: 'https://cluster',
    serviceAccountUid: 'sa-1',
    ...testCase.claims,
  };
  const settings = readVaultSettings('vault', testCase.env ?? {});
  const identitySources = createIdentitySources({
    settings,
    podTokens: () =>
      Promise.resolve({
        claims,
        getCredential: () => Promise.resolve({ kind: 'jwt', token: new Redacted('t') }),
      }),
  });
  const testWorkload = { ...workload, ...testCase.workload };
  const testLogin = { ...login, ...testCase.login };
  const getSession = (_: string, identity: VaultIdentity): Promise<VaultSession> => {
    requestedIdentities.push(identity);
    return Promise.resolve({ login: testLogin, token: new Redacted('s') });
  };
  const identity = await resolveIdentity(identitySources, testWorkload, testLogin, {
    signal: new AbortController().signal,
    notBefore: 0,
  });
  if (identity === undefined) throw new Error('no identity source is used');
  return createPrincipalOf({ tokens: { getSession }, fingerprint })(
    identity,
    testLogin,
    testWorkload,
  );
}
const podSecretsOf = (secrets: Record<string, string>): Partial<Workload> => ({
  secrets: new Map(Object.entries(secrets).map(([name, value]) => [name, new Redacted(value)])),
});

/** Vault can respond differently to each of them. */
const distinctCases: Record<string, Case> = {
  plain: {},
  'the other provider': { login: { dialect: 'openbao' } },
  'fewer addresses': { login: { addresses: ['https://a:8200'] } },
  'another order of addresses': { login: { addresses: ['https://b:8200', 'https://a:8200'] } },
  'a namespace of Vault': { login: { namespace: 'ns' } },
  'another role': { login: { role: 'admin' } },
  'another mount': { login: { mount: 'kubernetes-eu' } },
  'another audience': { login: { audience: 'bank' } },
  'another authority': { login: { tls: { caFile: '/ca' } } },
  'nothing verified': { login: { tls: { skipVerify: true } } },
  'leases of the account': { login: { leaseScope: 'serviceAccount' } },
  'another namespace': { workload: { tenant: 'team-b' } },
  'another account': { workload: { identity: { name: 'admin' } } },
  'an account that was created again': { claims: { serviceAccountUid: 'sa-2' } },
  'another cluster': { claims: { issuer: 'https://other' } },
  jwt: { login: { method: 'jwt', mayBindPod: true } },
  'jwt, another pod': {
    login: { method: 'jwt', mayBindPod: true },
    workload: { instance: 'uid-2' },
  },
  approle: {
    login: { method: 'approle' },
    workload: podSecretsOf({ role_id: 'r', secret_id: 's' }),
  },
  'approle, another secret id': {
    login: { method: 'approle' },
    workload: podSecretsOf({ role_id: 'r', secret_id: 'S' }),
  },
  'approle, no secret id': {
    login: { method: 'approle' },
    workload: podSecretsOf({ role_id: 'r' }),
  },
  'approle of files': { login: { method: 'approle' }, env: { KEYFERRY_VAULT_ROLE_ID_FILE: '/r' } },
  'approle of other files': {
    login: { method: 'approle' },
    env: { KEYFERRY_VAULT_ROLE_ID_FILE: '/R' },
  },
  token: { login: { method: 'token' }, workload: podSecretsOf({ token: 't' }) },
  'another token': { login: { method: 'token' }, workload: podSecretsOf({ token: 'T' }) },
  'a token of a file': { login: { method: 'token' }, env: { KEYFERRY_VAULT_TOKEN_FILE: '/t' } },
  'an Agent': { login: { method: 'token' }, env: { VAULT_ADDR: 'unix:///run/agent.sock' } },
  certificate: { login: { method: 'cert', tls: { certFile: '/c', keyFile: '/k' } } },
};

describe('a principal of Vault', () => {
  test('differs with everything that can change the response', async () => {
    const names = new Map<string, string>();
    for (const [name, testCase] of Object.entries(distinctCases)) {
      const { fingerprint: made } = await principalOf(testCase);
      expect([name, names.get(made)]).toEqual([name, undefined]);
      names.set(made, name);
    }
  });

  test.each<[string, Case, Case]>([
    ['another pod of the account', {}, { workload: { instance: 'uid-2' } }],
    [
      'another pod, where no role looks at it',
      {
        login: { method: 'jwt', mayBindPod: true },
        env: { KEYFERRY_VAULT_JWT_PRINCIPAL: 'serviceAccount' },
      },
      {
        ...{ login: { method: 'jwt', mayBindPod: true }, workload: { instance: 'uid-2' } },
        env: { KEYFERRY_VAULT_JWT_PRINCIPAL: 'serviceAccount' },
      },
    ],
    [
      'who brings the same keys',
      { login: { method: 'token' }, workload: podSecretsOf({ token: 't' }) },
      {
        login: { method: 'token' },
        workload: { ...podSecretsOf({ token: 't\n' }), tenant: 'team-b' },
      },
    ],
  ])('is the same for %s', async (_, testCase, other) => {
    expect((await principalOf(testCase)).fingerprint).toBe((await principalOf(other)).fingerprint);
  });

  test('does not share leases of an account between accounts with the same keys', async () => {
    for (const podSecrets of [podSecretsOf({ token: 't' }), {}]) {
      const of = (namespace: string) =>
        principalOf({
          login: { method: 'token', leaseScope: 'serviceAccount' },
          workload: { ...podSecrets, tenant: namespace },
          env: { KEYFERRY_VAULT_TOKEN_FILE: '/t' },
        });
      expect((await of('team-a')).fingerprint).not.toBe((await of('team-b')).fingerprint);
    }
  });

  test('does not log in before its first use; then it passes the login and its credential only', async () => {
    const requestedIdentities: VaultIdentity[] = [];
    const principal = await principalOf({}, requestedIdentities);
    expect(requestedIdentities).toEqual([]);
    await principal.credentials(new AbortController().signal);
    expect(requestedIdentities).toEqual([{ login, getCredential: expect.any(Function) }]);
  });

  test('describes its identity without a secret', async () => {
    const texts = [];
    for (const name of [
      'plain',
      'approle',
      'approle of files',
      'token',
      'a token of a file',
      'an Agent',
      'certificate',
    ]) {
      const { kind, description } = await principalOf(distinctCases[name]);
      texts.push(`${kind}: ${description}`);
    }
    expect(texts).toEqual([
      'own: the role app of auth/kubernetes as team-a/app',
      'own: the AppRole of nodePublishSecretRef',
      'shared: the AppRole it is configured with',
      'own: the token of nodePublishSecretRef',
      'shared: the token it is configured with',
      'shared: the Agent it is configured with',
      'shared: the client certificate it is configured with',
    ]);
  });
});
