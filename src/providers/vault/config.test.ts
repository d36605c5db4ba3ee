import { describe, expect, test } from '@jest/globals';
import type { SecretError } from '../../core/errors.ts';
import { readVaultSettings } from './config.ts';
import { defaultMounts } from './types.ts';
import { planVault as planInSteps } from './class/class.ts';
import { runSteps } from '../../core/steps.ts';

const planVault =
  (dialect: Parameters<typeof planInSteps>[0]) =>
  (...args: Parameters<ReturnType<typeof planInSteps>>) =>
    runSteps(planInSteps(dialect)(...args));

type Env = Readonly<Record<string, string>>;
const readSettings = (env: Env, dialect: 'vault' | 'openbao' = 'vault') =>
  readVaultSettings(dialect, env);
const errorMessage = (env: Env): string => {
  try {
    readSettings(env);
  } catch (thrown) {
    expect(thrown).toMatchObject({ code: 'NOT_CONFIGURED' });
    return (thrown as SecretError).message;
  }
  return 'accepted';
};

describe("the operator's settings", () => {
  test('can be empty: then classes name their Vault, and nothing is shared or allowed', () => {
    expect(readSettings({})).toEqual({
      ...{
        perSecond: 50,
        burst: 500,
        credentialFiles: {},
        tokenRequests: false,
        jwtPrincipal: 'pod',
      },
      nodeFacts: {
        ...{
          addresses: [],
          mounts: defaultMounts,
          tls: {},
          allowedAddresses: [],
          allowedFiles: [],
        },
        allowSkipVerify: false,
      },
    });
  });

  test('can be the variables of the vendors’ clients', () => {
    const { nodeFacts } = readSettings({
      VAULT_ADDR: 'https://a:8200/, http://b:8200, unix:///run/agent.sock',
      VAULT_NAMESPACE: '/team-a/',
      VAULT_CACERT: '/etc/ca.crt',
      VAULT_CAPATH: '/etc/ca',
      VAULT_TLS_SERVER_NAME: 'vault.internal',
      VAULT_CLIENT_CERT: '/etc/c.crt',
      VAULT_CLIENT_KEY: '/etc/c.key',
      VAULT_SKIP_VERIFY: '1',
    });
    expect(nodeFacts).toMatchObject({
      addresses: ['https://a:8200', 'http://b:8200', 'unix:///run/agent.sock'],
      namespace: 'team-a',
      tls: {
        ...{ skipVerify: true, caFile: '/etc/ca.crt', serverName: 'vault.internal' },
        ...{ certFile: '/etc/c.crt', keyFile: '/etc/c.key' },
      },
    });
    expect(readSettings({ VAULT_CAPATH: '/etc/ca' }).nodeFacts.tls).toEqual({
      caDirectory: '/etc/ca',
    });
  });

  test('take variables of Keyferry first, for openbao those of openbao first, and skip empty ones', () => {
    const all = {
      KEYFERRY_OPENBAO_ADDR: 'https://a:1',
      KEYFERRY_VAULT_ADDR: 'https://b:1',
      BAO_ADDR: 'https://c:1',
      VAULT_ADDR: 'https://d:1',
    };
    const order = (dialect: 'vault' | 'openbao'): readonly (string | undefined)[] => {
      const remainingEnv: Record<string, string> = { ...all };
      return Object.keys(all).map((name) => {
        const [address] = readSettings(remainingEnv, dialect).nodeFacts.addresses;
        remainingEnv[name] = ' ';
        return address;
      });
    };
    expect(order('openbao')).toEqual(['https://a:1', 'https://b:1', 'https://c:1', 'https://d:1']);
    expect(order('vault')).toEqual(['https://b:1', 'https://b:1', 'https://d:1', 'https://d:1']);
  });

  test('have one mount for tokens of pods, and one for each other method', () => {
    const { mounts } = readSettings({
      KEYFERRY_VAULT_MOUNT: '/k8s/eu/',
      KEYFERRY_VAULT_CERT_MOUNT: 'nodes',
    }).nodeFacts;
    expect(mounts).toEqual({
      ...defaultMounts,
      kubernetes: 'k8s/eu',
      jwt: 'k8s/eu',
      cert: 'nodes',
    });
  });

  test('have credential files, token requests, principals and rates', () => {
    expect(
      readSettings({
        KEYFERRY_VAULT_ROLE_ID_FILE: '/etc/kf/role-id',
        KEYFERRY_VAULT_SECRET_ID_FILE: '/etc/kf/secret-id',
        KEYFERRY_VAULT_TOKEN_FILE: '/etc/kf/token',
        KEYFERRY_VAULT_TOKEN_REQUESTS: 'true',
        KEYFERRY_VAULT_JWT_PRINCIPAL: 'serviceAccount',
        KEYFERRY_VAULT_RATE: '5',
        KEYFERRY_VAULT_BURST: '7',
      }),
    ).toMatchObject({
      credentialFiles: {
        roleIdFile: '/etc/kf/role-id',
        secretIdFile: '/etc/kf/secret-id',
        tokenFile: '/etc/kf/token',
      },
      ...{ tokenRequests: true, jwtPrincipal: 'serviceAccount', perSecond: 5, burst: 7 },
    });
  });

  test.each<[Env, string]>([
    [{ VAULT_ADDR: 'ftp://x' }, 'vault: VAULT_ADDR "ftp://x" is not an endpoint'],
    [{ VAULT_ADDR: 'unix://relative' }, 'vault: VAULT_ADDR unix://relative is not a socket'],
    [{ VAULT_ADDR: Array(17).fill('a:1').join() }, 'vault: VAULT_ADDR has more than 16 addresses'],
    [
      { VAULT_NAMESPACE: 'a b' },
      'vault: VAULT_NAMESPACE must be a namespace like team-a/shop, not a b',
    ],
    [{ VAULT_CACERT: 'ca.crt' }, 'vault: VAULT_CACERT must be an absolute, clean path, not ca.crt'],
    [{ VAULT_CLIENT_CERT: '/c' }, 'vault: VAULT_CLIENT_CERT is set alone'],
    [{ KEYFERRY_VAULT_CLIENT_KEY: '/k' }, 'vault: KEYFERRY_VAULT_CLIENT_KEY is set alone'],
    [
      { VAULT_TLS_SERVER_NAME: 'a/b' },
      'vault: VAULT_TLS_SERVER_NAME must be the name of a host, not a/b',
    ],
    [{ VAULT_SKIP_VERIFY: 'yes' }, 'vault: VAULT_SKIP_VERIFY must be true or false, not yes'],
    [
      { KEYFERRY_VAULT_MOUNT: '../x' },
      'vault: KEYFERRY_VAULT_MOUNT must be a path like kubernetes, not ../x',
    ],
    [{ KEYFERRY_VAULT_RATE: '0' }, 'vault: KEYFERRY_VAULT_RATE must be a number above 0, not 0'],
    [
      { KEYFERRY_VAULT_BURST: 'many' },
      'vault: KEYFERRY_VAULT_BURST must be a number above 0, not many',
    ],
    [
      { KEYFERRY_VAULT_TOKEN_REQUESTS: 'on' },
      'vault: KEYFERRY_VAULT_TOKEN_REQUESTS must be true or false, not on',
    ],
    [
      { KEYFERRY_VAULT_JWT_PRINCIPAL: 'account' },
      'vault: KEYFERRY_VAULT_JWT_PRINCIPAL must be pod or serviceAccount, not account',
    ],
    [{ KEYFERRY_VAULT_SECRET_ID_FILE: '/s' }, 'vault: KEYFERRY_VAULT_SECRET_ID_FILE is set alone'],
    [
      { KEYFERRY_VAULT_TOKEN_FILE: '/a/../b' },
      'vault: KEYFERRY_VAULT_TOKEN_FILE must be an absolute, clean path, not /a/../b',
    ],
    ...['a/b', '*', '*.', 'http:/x', 'unix:x', 'a b'].map((entry): [Env, string] => [
      { KEYFERRY_VAULT_ALLOWED_ADDRESSES: `ok:8200,${entry}` },
      `vault: KEYFERRY_VAULT_ALLOWED_ADDRESSES has an entry that is not an address: ${entry}`,
    ]),
    ...['etc', '/a/../b', '/', '/a//b'].map((entry): [Env, string] => [
      { KEYFERRY_VAULT_ALLOWED_FILES: entry },
      `vault: KEYFERRY_VAULT_ALLOWED_FILES has an entry that is not an absolute, clean path: ${entry}`,
    ]),
  ])('%j stops the start', (env, message) => {
    expect(errorMessage(env)).toBe(message);
  });
});

describe('what the operator allows to classes', () => {
  const codes = (env: Env, parameters: Env): readonly string[] =>
    planVault('vault')(
      { roleName: 'app', objects: '- {objectName: a, secretPath: b}', ...parameters },
      readSettings(env).nodeFacts,
    ).problems.map(({ code }) => code);

  test('has the configured addresses always, and others as listed', () => {
    const env = {
      VAULT_ADDR: 'http://vault.vault:8200,unix:///run/agent.sock',
      KEYFERRY_VAULT_ALLOWED_ADDRESSES: 'v:8200, 127.0.0.1:8200, *.vault.example',
    };
    const allowed = (vaultAddress: string): boolean => codes(env, { vaultAddress }).length === 0;
    const addresses = ['http://vault.vault:8200', 'unix:///run/agent.sock', 'https://v:8200'];
    for (const address of [...addresses, 'https://127.0.0.1:8200', 'https://a.vault.example'])
      expect([address, allowed(address)]).toEqual([address, true]);
    for (const address of [
      'https://vault.vault:8200',
      'http://v:8200',
      'https://localhost:8200',
      'unix:///run/x',
    ])
      expect([address, allowed(address)]).toEqual([address, false]);
  });

  test('has files, directories and globs', () => {
    const env = {
      VAULT_ADDR: 'v:1',
      KEYFERRY_VAULT_ALLOWED_FILES: '/etc/a.crt, /etc/tls/, /srv/*/ca.crt',
    };
    const allowed = (vaultCACertPath: string): boolean =>
      codes(env, { vaultCACertPath }).length === 0;
    for (const file of ['/etc/a.crt', '/etc/tls', '/etc/tls/b/c', '/srv/x/ca.crt'])
      expect([file, allowed(file)]).toEqual([file, true]);
    for (const file of ['/etc/b.crt', '/etc/tls2', '/srv/x/y/ca.crt', '/srv/x/ca.key', '/etc'])
      expect([file, allowed(file)]).toEqual([file, false]);
  });

  test('has TLS that is not verified', () => {
    const parameters = { vaultSkipTLSVerify: 'true' };
    expect(codes({ VAULT_ADDR: 'v:1' }, parameters)).toEqual(['NOT_ALLOWED_FROM_CLASS']);
    expect(
      codes({ VAULT_ADDR: 'v:1', KEYFERRY_VAULT_ALLOW_SKIP_VERIFY: 'true' }, parameters),
    ).toEqual([]);
  });
});
