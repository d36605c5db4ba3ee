import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { refKey } from '../../../core/plan.ts';
import { compileNameGlob } from '../../../formats/name-glob.ts';
import { type VaultNodeFacts, defaultMounts } from '../types.ts';
import { planVault as planInSteps } from './class.ts';
import { runSteps } from '../../../core/steps.ts';

const planVault =
  (dialect: Parameters<typeof planInSteps>[0]) =>
  (...args: Parameters<ReturnType<typeof planInSteps>>) =>
    runSteps(planInSteps(dialect)(...args));

const nodeFacts: VaultNodeFacts = {
  addresses: ['https://vault:8200'],
  mounts: defaultMounts,
  tls: {},
  allowedAddresses: [
    'https://vault:8200',
    'http://dev-vault:8200',
    '*.vault.example',
    'unix:///run/agent.sock',
  ],
  allowedFiles: ['/etc/vault/tls/**'].map(compileNameGlob),
  allowSkipVerify: false,
};
type ClassParameters = Readonly<Record<string, string>>;
type Dialect = 'vault' | 'openbao';

const objects = '- {objectName: a, secretPath: secret/data/a}';
const compile = (
  parameters: ClassParameters,
  givenFacts: VaultNodeFacts | undefined = nodeFacts,
  dialect: Dialect = 'vault',
) => planVault(dialect)({ objects, roleName: 'app', ...parameters }, givenFacts);
/** `[line:column] severity: message`. */
const describeProblems = (...args: Parameters<typeof compile>): string[] =>
  compile(...args).problems.map(
    ({ severity, line, column, message }) =>
      `${line === undefined ? '' : `${line}:${column} `}${severity}: ${message}`,
  );
const login = (...args: Parameters<typeof compile>) => {
  const { plan, problems } = compile(...args);
  expect(problems).toEqual([]);
  return plan!.login;
};
const plan = (text: string) => {
  const { plan: compiled, problems } = compile({ objects: text });
  expect(problems).toEqual([]);
  return compiled!;
};

describe("a class in the vendors' format", () => {
  test('compiles to a login, refs and files', () => {
    const { plan: compiled, problems } = compile({
      roleName: 'csi',
      vaultAddress: 'https://vault:8200',
      vaultNamespace: 'team-a/',
      vaultKubernetesMountPath: 'kubernetes-eu',
      vaultCACertPath: '/etc/vault/tls/ca.crt',
      vaultTLSClientCertPath: '/etc/vault/tls/client.crt',
      vaultTLSClientKeyPath: '/etc/vault/tls/client.key',
      vaultTLSServerName: 'vault.internal',
      vaultSkipTLSVerify: 'false',
      audience: 'https://vault.example',
      objects: `
        - objectName: "nested/db.json"
          secretPath: "database/creds/app?ttl=1h"
          filePermission: 0600
        - objectName: "user"
          secretPath: "database/creds/app?ttl=1h"
          secretKey: "username"
        - objectName: "cert"
          secretPath: "v1/pki/issue/web"
          secretKey: "certificate"
          method: "PUT"
          encoding: "Base64"
          secretArgs:
            common_name: test.example.com
            bar: true
            baz: 10
      `,
    });
    expect(problems).toEqual([]);
    expect(compiled?.login).toEqual({
      dialect: 'vault',
      addresses: ['https://vault:8200'],
      namespace: 'team-a',
      method: 'kubernetes',
      mount: 'kubernetes-eu',
      role: 'csi',
      audience: 'https://vault.example',
      tls: {
        caFile: '/etc/vault/tls/ca.crt',
        certFile: '/etc/vault/tls/client.crt',
        keyFile: '/etc/vault/tls/client.key',
        serverName: 'vault.internal',
      },
      leaseScope: 'pod',
      mayBindPod: true,
    });
    const creds = { service: 'vault', name: 'database/creds/app?ttl=1h', method: 'GET' };
    const issue = {
      ...{ service: 'vault', name: 'pki/issue/web', method: 'PUT' },
      body: '{"bar":true,"baz":10,"common_name":"test.example.com"}',
    };
    expect(compiled?.refs).toEqual([creds, issue]);
    expect(compiled?.files).toEqual([
      {
        path: 'nested/db.json',
        sources: { value: { ref: creds, selector: { kind: 'whole' } } },
        encoding: 'utf-8',
        mode: 0o600,
      },
      {
        path: 'user',
        sources: { value: { ref: creds, selector: { kind: 'key', key: 'username' } } },
        encoding: 'utf-8',
      },
      {
        path: 'cert',
        sources: { value: { ref: issue, selector: { kind: 'key', key: 'certificate' } } },
        encoding: 'base64',
      },
    ]);
  });

  test("takes the operator's settings and the vendors' defaults for what it leaves out", () => {
    const configured = {
      ...nodeFacts,
      namespace: 'ops',
      tls: { caFile: '/etc/kf/ca.crt', serverName: 'v' },
    };
    expect(login({}, configured)).toEqual({
      ...{
        dialect: 'vault',
        addresses: ['https://vault:8200'],
        namespace: 'ops',
        method: 'kubernetes',
      },
      ...{ mount: 'kubernetes', role: 'app', audience: 'vault', leaseScope: 'pod' },
      tls: { caFile: '/etc/kf/ca.crt', serverName: 'v' },
    });
    expect(login({}, nodeFacts, 'openbao')).toMatchObject({
      dialect: 'openbao',
      audience: 'openbao',
    });
  });

  test('treats an empty parameter as missing', () => {
    expect(login({ vaultAddress: '', vaultNamespace: ' ', audience: '' })).toEqual(login({}));
  });

  test('takes the mount path by either name, but not by both', () => {
    expect(login({ vaultAuthMountPath: '/team/jwt/' }).mount).toBe('team/jwt');
    expect(describeProblems({ vaultAuthMountPath: 'jwt', vaultKubernetesMountPath: 'k' })).toEqual([
      'error: vaultAuthMountPath and vaultKubernetesMountPath stand side by side',
    ]);
  });

  test.each(['../sys/x', 'a/../b', 'a?b=c', 'a b', '//', 'a%2fb', 'a#b', './a'])(
    'the mount path %j leads nowhere else',
    (mount) => {
      expect(describeProblems({ vaultAuthMountPath: mount })[0]).toMatch(
        /^error: vaultAuthMountPath is not a path of an auth method/,
      );
    },
  );

  test('rejects a parameter in another letter case, with the right name', () => {
    expect(compile({ VaultAddress: 'https://elsewhere:8200' }).problems).toEqual([
      {
        severity: 'error',
        code: 'INVALID_CLASS',
        message: 'the parameter VaultAddress is unknown to vault, and it says where the store is',
        hint: 'write vaultAddress',
        parameter: 'VaultAddress',
      },
    ]);
  });

  test('needs a roleName for methods that log in to a role', () => {
    for (const method of ['kubernetes', 'jwt'])
      expect(describeProblems({ roleName: '', authMethod: method })).toEqual([
        'error: the parameter `roleName` is missing',
      ]);
    expect(login({ roleName: '', authMethod: 'cert' })).not.toHaveProperty('role');
    expect(login({ authMethod: 'cert' }).role).toBe('app');
    for (const method of ['approle', 'token'])
      expect(login({ authMethod: method })).not.toHaveProperty('role');
  });

  test('has a default mount for each method, and rejects an unknown method', () => {
    const mounts = ['jwt', 'approle', 'cert', 'token'].map(
      (method) => login({ authMethod: method }).mount,
    );
    expect(mounts).toEqual(['jwt', 'approle', 'cert', 'token']);
    for (const invalidMethod of ['aws', 'Kubernetes', 'constructor'])
      expect(describeProblems({ authMethod: invalidMethod })[0]).toMatch(
        /^error: authMethod is not known/,
      );
  });

  test('lets the role bind the pod for jwt, and for a mount that is not declared to be of Kubernetes', () => {
    const mayBind = (parameters: ClassParameters): boolean => login(parameters).mayBindPod ?? false;
    expect(mayBind({})).toBe(false);
    expect(mayBind({ vaultAuthMountPath: 'k8s-eu', authMethod: 'kubernetes' })).toBe(false);
    expect(mayBind({ vaultAuthMountPath: 'k8s-eu' })).toBe(true);
    expect(mayBind({ authMethod: 'jwt' })).toBe(true);
    expect(mayBind({ authMethod: 'jwt', vaultAuthMountPath: 'kubernetes' })).toBe(true);
    expect(mayBind({ authMethod: 'approle' })).toBe(false);
  });

  test('has a leaseScope of the pod or of the account', () => {
    expect(login({ leaseScope: 'serviceAccount' }).leaseScope).toBe('serviceAccount');
    expect(describeProblems({ leaseScope: 'serviceaccount' })[0]).toMatch(
      /^error: leaseScope is neither/,
    );
  });

  test.each(['a\nb', '\u0000', 'a b', 'ü'])(
    'rejects the vaultNamespace %j, which no header can hold',
    (text) => {
      expect(describeProblems({ vaultNamespace: `ns/${text}` })[0]).toMatch(
        /^error: vaultNamespace is not a namespace/,
      );
    },
  );
});

test.each([
  ['vaultAuthMountPath', 257],
  ['roleName', 257],
  ['audience', 257],
  ['vaultNamespace', 513],
  ['vaultTLSServerName', 254],
  ['vaultCACertPath', 4_097],
])('%s has a maximum length', (name, length) => {
  const [problemText = ''] = describeProblems({
    [name]: '/etc/vault/tls/'.slice(0, name.endsWith('Path') ? 15 : 0) + 'x'.repeat(length),
  });
  expect(problemText).toMatch(new RegExp(`^error: ${name} `));
  expect(problemText.length).toBeLessThan(400);
});

describe('the parameters of openbao', () => {
  const openbao = (parameters: ClassParameters) =>
    login(parameters, { ...nodeFacts, allowedAddresses: ['a:1', 'b:1', 'c:1'] }, 'openbao');

  test('take the prefix bao before openbao before vault', () => {
    const all = { vaultAddress: 'c:1', openbaoAddress: 'b:1', baoAddress: 'a:1' };
    expect(openbao(all).addresses).toEqual(['https://a:1']);
    expect(openbao({ ...all, baoAddress: '' }).addresses).toEqual(['https://b:1']);
    expect(openbao({ vaultAddress: 'c:1' }).addresses).toEqual(['https://c:1']);
  });

  test('take a role with a prefix before one without', () => {
    const all = { baoRoleName: 'w', openbaoRoleName: 'x', vaultRoleName: 'y', roleName: 'z' };
    expect(openbao(all).role).toBe('w');
    expect(openbao({ ...all, baoRoleName: '' }).role).toBe('x');
    expect(openbao({ vaultRoleName: 'y', roleName: 'z' }).role).toBe('y');
    expect(openbao({ roleName: 'z' }).role).toBe('z');
  });

  test('reject both mount paths across prefixes, too', () => {
    expect(
      describeProblems(
        { baoAuthMountPath: 'a', vaultKubernetesMountPath: 'b' },
        nodeFacts,
        'openbao',
      ),
    ).toEqual(['error: baoAuthMountPath and vaultKubernetesMountPath stand side by side']);
  });

  test('are unknown to vault', () => {
    expect(describeProblems({ baoAddress: 'https://x:1', vaultRoleName: 'y' })).toEqual([
      'error: the parameter baoAddress is unknown to vault, and it says where the store is',
      'error: the parameter vaultRoleName is unknown to vault, and it says with which role to read',
    ]);
  });
});

describe('what only the operator may allow', () => {
  test('has several addresses, in their order, each once', () => {
    const text =
      ' https://b.vault.example , https://vault:8200,https://vault:8200/, unix:///run/agent.sock,,';
    expect(login({ vaultAddress: text }).addresses).toEqual([
      'https://b.vault.example',
      'https://vault:8200',
      'unix:///run/agent.sock',
    ]);
    expect(login({ vaultAddress: 'http://dev-vault:8200' }).addresses).toEqual([
      'http://dev-vault:8200',
    ]);
  });

  test.each([
    'https://evil.example',
    'http://vault:8200',
    'https://vault:8201',
    'https://vault.example',
    'http://a.vault.example',
    'unix:///run/other.sock',
    'https://127.0.0.1:8200',
    'https://169.254.169.254',
    'https://vault:8200,https://evil.example',
  ])('rejects the address %s with the parameter and the setting', (address) => {
    const { plan: compiled, problems } = compile({ vaultAddress: address });
    expect(compiled).toBeUndefined();
    expect(problems).toEqual([
      expect.objectContaining({
        severity: 'error',
        code: 'NOT_ALLOWED_FROM_CLASS',
        message: expect.stringMatching(
          /^vaultAddress: the (endpoint|socket) .* is not among those allowed/,
        ),
        hint: expect.stringContaining(
          'the operator has to list it in KEYFERRY_VAULT_ALLOWED_ADDRESSES',
        ),
        parameter: 'vaultAddress',
      }),
    ]);
  });

  test.each([
    'vault:8200/v1',
    'https://user:CANARY@vault:8200',
    'ftp://vault',
    'https://vault:8200?x',
    'https://0x7f.1:8200',
    'unix://run/agent.sock',
    'unix:///run/../agent.sock',
    'unix:/run/agent.sock',
    'a b',
    ',',
  ])('rejects %j, which is not an address', (address) => {
    const [problemText = ''] = describeProblems({ vaultAddress: address });
    expect(problemText).toMatch(/^error: vaultAddress(:| has)/);
    expect(problemText).not.toContain('CANARY');
  });

  test('rejects too many addresses, and a path that is too long', () => {
    const tooManyAddresses = Array.from({ length: 17 }, () => 'vault:8200').join();
    expect(describeProblems({ vaultAddress: tooManyAddresses })).toEqual([
      'error: vaultAddress has 17 addresses',
    ]);
    const objectsOf = (path: string): string => `- {objectName: a, secretPath: ${path}}`;
    expect(describeProblems({ objects: objectsOf('x'.repeat(4_097)) })[0]).toContain(
      'is longer than 4096 characters',
    );
  });

  test.each([
    ['vaultCACertPath', '/etc/passwd'],
    ['vaultCACertPath', '/etc/vault/tlsx/ca.crt'],
    ['vaultCADirectory', '/var/run/secrets'],
  ])('%s %s', (name, path) => {
    const [problem] = compile({ [name]: path }).problems;
    expect(problem).toMatchObject({
      code: 'NOT_ALLOWED_FROM_CLASS',
      message: `${name} names ${path}, which is not among the files allowed to classes`,
      hint: 'the operator has to list it, or its directory, in KEYFERRY_VAULT_ALLOWED_FILES',
    });
  });

  test.each([
    '/etc/vault/tls/../../passwd',
    'etc/vault/tls/a',
    '/etc/vault/tls//a',
    '/etc/vault/tls/\u0000',
    '.',
  ])('rejects the file %j, which leaves its directory', (path) => {
    expect(describeProblems({ vaultCACertPath: path })[0]).toMatch(
      /^error: vaultCACertPath is not an absolute, clean path/,
    );
  });

  test('allows a file that the operator uses', () => {
    const tls = { caFile: '/etc/kf/ca.crt', certFile: '/etc/kf/c.crt', keyFile: '/etc/kf/c.key' };
    expect(login({ vaultCACertPath: '/etc/kf/ca.crt' }, { ...nodeFacts, tls }).tls).toEqual(tls);
  });

  test('replaces the configured authorities; a file wins over a directory', () => {
    const configured = { ...nodeFacts, tls: { caFile: '/etc/kf/ca.crt' } };
    expect(login({ vaultCADirectory: '/etc/vault/tls/ca' }, configured).tls).toEqual({
      caDirectory: '/etc/vault/tls/ca',
    });
    const both = {
      vaultCADirectory: '/etc/vault/tls/ca',
      vaultCACertPath: '/etc/vault/tls/ca.crt',
    };
    expect(login(both, configured).tls).toEqual({ caFile: '/etc/vault/tls/ca.crt' });
  });

  test('rejects a certificate without its key', () => {
    expect(describeProblems({ vaultTLSClientCertPath: '/etc/vault/tls/a' })).toEqual([
      'error: vaultTLSClientCertPath is set alone',
    ]);
    expect(describeProblems({ vaultTLSClientKeyPath: '/etc/vault/tls/a' })).toEqual([
      'error: vaultTLSClientKeyPath is set alone',
    ]);
  });

  test('rejects TLS that is not verified', () => {
    for (const value of ['true', 'True', 'T', '1'])
      expect(compile({ vaultSkipTLSVerify: value }).problems).toEqual([
        expect.objectContaining({
          code: 'NOT_ALLOWED_FROM_CLASS',
          message: 'vaultSkipTLSVerify is not allowed to classes',
          hint: 'the operator has to set KEYFERRY_VAULT_ALLOW_SKIP_VERIFY=true',
        }),
      ]);
    expect(
      login({ vaultSkipTLSVerify: 'true' }, { ...nodeFacts, allowSkipVerify: true }).tls,
    ).toEqual({
      skipVerify: true,
    });
    const skipping = { ...nodeFacts, tls: { skipVerify: true } };
    expect(login({ vaultSkipTLSVerify: 't' }, skipping).tls).toEqual({ skipVerify: true });
    expect(login({ vaultSkipTLSVerify: 'False' }, skipping).tls).toEqual({});
    expect(describeProblems({ vaultSkipTLSVerify: 'yes' })[0]).toMatch(
      /is neither "true" nor "false": yes/,
    );
  });

  test('rejects a login by the connection’s certificate, whose token the file would hold', () => {
    const certified = {
      ...nodeFacts,
      tls: { certFile: '/etc/kf/c.crt', keyFile: '/etc/kf/c.key' },
    };
    const codes = (fields: string, givenFacts: VaultNodeFacts): readonly string[] =>
      compile({ objects: `- {objectName: a, ${fields}}` }, givenFacts).problems.map(
        ({ code }) => code,
      );
    for (const path of ['auth/cert/login', '/v1/auth/a/b//login/', 'team-a/auth/cert/login?x=1'])
      for (const method of ['POST', 'PUT']) {
        expect(codes(`secretPath: "${path}", method: ${method}`, certified)).toEqual([
          'NOT_ALLOWED_FROM_CLASS',
        ]);
        expect(codes(`secretPath: "${path}", method: ${method}`, nodeFacts)).toEqual([]);
      }
    for (const path of ['auth/token/create', 'auth/cert/login/x', 'kv/auth/login'])
      expect(codes(`secretPath: ${path}, method: POST`, certified)).toEqual([]);
  });

  test('reports the checks that it skips offline', () => {
    const {
      plan: compiled,
      problems,
      skipped,
    } = planVault('vault')({
      ...{
        objects,
        roleName: 'app',
        vaultAddress: 'https://any.example:8200',
        vaultSkipTLSVerify: 'true',
      },
      vaultCACertPath: '/any/ca.crt',
    });
    expect(problems).toEqual([]);
    expect(compiled?.login.addresses).toEqual(['https://any.example:8200']);
    expect(skipped).toEqual([
      'an address of Vault in the class, which the operator has to allow',
      'that TLS is not verified, which the operator has to allow',
      'files named in the class, which the operator has to allow',
    ]);
    expect(planVault('vault')({ objects, roleName: 'app' }).skipped).toEqual([
      'the address of Vault, which the class leaves to Keyferry',
    ]);
  });

  test('fails without any address, with the settings for the operator and the user', () => {
    const { problems } = compile({}, { ...nodeFacts, addresses: [] });
    expect(problems).toEqual([
      expect.objectContaining({
        code: 'NOT_CONFIGURED',
        hint: expect.stringContaining('VAULT_ADDR'),
      }),
    ]);
  });
});

describe('the request of an object', () => {
  const names = (...paths: readonly string[]): string[] =>
    plan(
      paths
        .map((path, index) => `- {objectName: f${index}, secretPath: ${JSON.stringify(path)}}`)
        .join('\n'),
    ).refs.map(({ name }) => name);

  test('is one for all spellings of a path', () => {
    expect(
      names(
        'secret/data/a',
        '/secret/data/a',
        'v1/secret/data/a',
        '/v1/secret/data/a',
        'secret//data/a/',
      ),
    ).toEqual(['secret/data/a']);
    expect(names('s/a?b=1&a=2', 's/a?a=2&b=1', 's/a')).toEqual(['s/a?a=2&b=1', 's/a']);
  });

  test('sends the characters as written', () => {
    expect(
      names(
        'kv/a b',
        'kv/100%',
        'kv/a#b',
        "kv/it's",
        'kv/ü',
        'kv/a@b:c=d,e+f&g',
        'kv/%2e%2e/x',
        'v1',
      ),
    ).toEqual([
      ...['kv/a%20b', 'kv/100%25', 'kv/a%23b', 'kv/it%27s', 'kv/%C3%BC', 'kv/a@b:c=d,e+f&g'],
      ...['kv/%252e%252e/x', 'v1'],
    ]);
  });

  test.each(['', '/', 'v1/', '?x=1', 'a/../b', './a', 'a\nb', 'a\u0000', 'x?%zz'])(
    'the path %j leads nowhere',
    (path) => {
      const text = `- {objectName: a, secretPath: ${JSON.stringify(path)}}`;
      expect(describeProblems({ objects: text })[0]).toMatch(
        /^1:\d+ error: (secretPath of item 1|item 1 has no secretPath)/,
      );
    },
  );

  test('never leaves v1/, has one spelling, and decodes to what was written', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[^\p{C}?]{1,40}$/u), (path) => {
        const { plan: compiled } = compile({
          objects: JSON.stringify([{ objectName: 'a', secretPath: path }]),
        });
        if (compiled === undefined) return;
        const [{ name } = { name: '' }] = compiled.refs;
        const url = new URL(`https://vault/v1/${name}`);
        expect(url.href).toBe(`https://vault/v1/${name}`);
        const expectedSegments = path
          .replace(/^\/?v1\//, '')
          .split('/')
          .filter((part) => part !== '');
        expect(name.split('/').map(decodeURIComponent)).toEqual(expectedSegments);
      }),
    );
  });

  test.each(['HEAD', 'DELETE', 'LIST', 'PATCH', 'get', 'GET /v1/sys HTTP/1.1'])(
    'method %s is rejected',
    (method) => {
      expect(
        describeProblems({
          objects: `- {objectName: a, secretPath: x, method: ${JSON.stringify(method)}}`,
        })[0],
      ).toMatch(/error: method of item 1 is not known/);
    },
  );

  test('keeps types and digits of secretArgs, and is one for equal secretArgs in any order', () => {
    const { refs, files } = plan(`
      - {objectName: a, secretPath: pki/issue/web, method: POST, secretArgs: {bar: true, baz: 10, big: 12345678901234567890, t: 1.50}}
      - {objectName: b, secretPath: pki/issue/web, method: POST, secretArgs: {t: 1.50, big: 12345678901234567890, baz: 10, bar: true}}
      - {objectName: c, secretPath: pki/issue/web, method: POST, secretArgs: '{"bar": true}'}
      - {objectName: d, secretPath: pki/issue/web, method: POST, secretArgs: {bar: "true"}}
      - {objectName: e, secretPath: pki/issue/web, method: POST}
      - {objectName: f, secretPath: pki/issue/web, method: PUT}
    `);
    expect(refs.map(({ method, body }) => [method, body])).toEqual([
      ['POST', '{"bar":true,"baz":10,"big":12345678901234567890,"t":1.50}'],
      ['POST', '{"bar":true}'],
      ['POST', '{"bar":"true"}'],
      ['POST', undefined],
      ['PUT', undefined],
    ]);
    expect(files[0]?.sources.value?.ref).toBe(files[1]?.sources.value?.ref);
    expect(new Set(refs.map(refKey)).size).toBe(5);
  });

  test.each(['[1]', '7', 'text', '"[1]"'])(
    'rejects the secretArgs %s, which are not a map',
    (args) => {
      const text = `- {objectName: a, secretPath: x, method: POST, secretArgs: ${args}}`;
      expect(describeProblems({ objects: text })[0]).toMatch(
        /^1:\d+ error: secretArgs of item 1 (is not a map|must be a map)/,
      );
    },
  );

  test.each(['vault', 'openbao'] as const)(
    'leaves out an item without content, as the parser of %s does',
    (dialect) => {
      const objects = '- {objectName: a, secretPath: x}\n-\n';
      const { plan: compiled, problems } = compile({ objects }, nodeFacts, dialect);
      expect(problems).toEqual([]);
      expect(compiled?.files.map(({ path }) => path)).toEqual(['a']);
    },
  );

  test('warns of secretArgs of a GET, which Vault does not read', () => {
    expect(
      describeProblems({ objects: '- {objectName: a, secretPath: x, secretArgs: {a: 1}}' }),
    ).toEqual(['1:3 warning: item 1 has secretArgs, but Vault reads no body of a GET']);
  });

  test('warns of unknown keys with the nearest name; letter case counts', () => {
    expect(
      compile({ objects: '- {objectName: a, secretPath: x, SecretKey: k, objectAlias: b}' })
        .problems,
    ).toEqual([
      expect.objectContaining({
        message: 'item 1 has an unknown key: SecretKey',
        hint: 'did you mean secretKey?',
      }),
      expect.objectContaining({ message: 'item 1 has an unknown key: objectAlias' }),
    ]);
  });
});

describe('files', () => {
  const file = (fields: string) =>
    plan(`- {objectName: a, secretPath: x, secretKey: k, ${fields}}`).files[0]!;

  test.each([
    ['0600', 0o600],
    ['0o600', 0o600],
    ['384', 0o600],
    ['0x180', 0o600],
    ['0b110000000', 0o600],
    ['0_600', 0o600],
    ['0624', 0o624],
    ['"0600"', 0o600],
    ["'0640'", 0o640],
    ['"0o444"', 0o444],
    ['256', 0o400],
    ['0', undefined],
    ['', undefined],
    ['"000"', undefined],
  ])('take filePermission %s as a YAML integer', (text, mode) => {
    expect(file(`filePermission: ${text}`).mode).toBe(mode);
  });

  test.each([
    ['400', ['hint: for the mode 0400 write 0400']],
    ['0400', []],
    ['256', []],
    ['"400"', []],
  ])('give a hint if filePermission %s is decimal and looks octal', (text, hints) => {
    const objects = `- {objectName: f, secretPath: secret/data/a, filePermission: ${text}}`;
    const { problems } = planVault('vault')({ roleName: 'app', objects });
    expect(problems.map(({ severity, hint }) => `${severity}: ${hint}`)).toEqual(hints);
  });

  test.each([
    '600',
    '01000',
    '-1',
    '0.5',
    '1e2',
    '"384"',
    '"rw"',
    '0x',
    '0o8',
    '~1',
    '999999999999999999999',
  ])('reject filePermission %s, which is not a mode', (text) => {
    const [problemText] = describeProblems({
      objects: `- {objectName: a, secretPath: x, filePermission: ${text}}`,
    });
    expect(problemText).toMatch(/filePermission of item 1 is not an octal file mode/);
  });

  test('take an encoding in any letter case', () => {
    expect(
      ['BASE64', 'Hex', 'UTF-8', '""'].map((text) => file(`encoding: ${text}`).encoding),
    ).toEqual([...['base64', 'hex', 'utf-8', 'utf-8']]);
    expect(
      describeProblems({
        objects: '- {objectName: a, secretPath: x, secretKey: k, encoding: rot13}',
      })[0],
    ).toMatch(/encoding of item 1 is not known/);
  });

  test('reject an encoding of the whole response', () => {
    expect(
      describeProblems({ objects: '- {objectName: a, secretPath: x, encoding: base64}' }),
    ).toEqual([
      '1:44 error: encoding of item 1 is base64, but without secretKey the file is the whole response, which is JSON',
    ]);
    expect(plan('- {objectName: a, secretPath: x, encoding: utf-8}').files).toHaveLength(1);
  });

  test('have clean, unique names, none another’s directory, which are not translated', () => {
    expect(plan('- {objectName: nested/bar, secretPath: x}').files[0]?.path).toBe('nested/bar');
    const problemsOfTwoFiles = (first: string, second: string) =>
      compile({
        objects: `- {objectName: ${first}, secretPath: x}\n- {objectName: ${second}, secretPath: y}`,
      }).problems;
    expect(problemsOfTwoFiles('a', 'a')).toMatchObject([
      {
        message: 'the file name a occurs twice',
        hint: 'give it another objectName',
        line: 2,
      },
    ]);
    expect(problemsOfTwoFiles('a', 'a/b')).toMatchObject([
      { message: 'the file a/b would lie below a, a file itself' },
    ]);
    for (const name of ['../x', '/x', './x', 'a//b', '..x'])
      expect(problemsOfTwoFiles(name, 'ok')).toMatchObject([
        { message: expect.stringContaining('the file name') },
      ]);
  });

  test('are optional only where the user declares it', () => {
    expect(file('optional: true').optional).toBe(true);
    expect(file('optional: "false"').optional).toBeUndefined();
  });

  test('take a key literally, and an empty one as missing', () => {
    expect(
      plan('- {objectName: a, secretPath: x, secretKey: __proto__}').files[0]?.sources.value
        ?.selector,
    ).toEqual({
      kind: 'key',
      key: '__proto__',
    });
    expect(
      plan('- {objectName: a, secretPath: x, secretKey: ""}').files[0]?.sources.value?.selector,
    ).toEqual({
      kind: 'whole',
    });
  });

  test('reject a class without objects, or with an empty object, with all problems', () => {
    expect(describeProblems({ objects: '' })).toEqual([
      'error: the parameter `objects` is missing',
    ]);
    expect(describeProblems({ objects: '- {}' })).toEqual([
      '1:3 error: item 1 has no objectName',
      '1:3 error: item 1 has no secretPath',
    ]);
  });
});

test('a hostile class compiles to an equal result for equal input', () => {
  const text = fc.oneof(
    fc.string(),
    fc.constantFrom('https://vault:8200', 'true', '/etc/vault/tls/a', 'app'),
  );
  const name = fc.oneof(
    fc.string(),
    fc.constantFrom('vaultAddress', 'vaultCACertPath', 'objects', 'authMethod', '__proto__'),
  );
  fc.assert(
    fc.property(fc.dictionary(name, text), (parameters) => {
      const frozen = Object.freeze(
        Object.assign(Object.create(null) as Record<string, string>, parameters),
      );
      expect(planVault('openbao')(frozen, nodeFacts)).toEqual(
        planVault('openbao')(frozen, nodeFacts),
      );
    }),
  );
});
