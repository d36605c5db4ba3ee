import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type HostDefaults, emptyConfig } from './defaults.ts';
import { readDsoConfig } from './read.ts';
import { storeTypes } from '../../core/host-store.ts';

const read = (text: string) => readDsoConfig(text, 'dso.yaml');

/** The configuration, which must have no problem. */
function configOf(text: string) {
  const { config, problems } = read(text);
  expect(problems).toEqual([]);
  return config!;
}

/** Each problem as one line: its line in the file, message and hint. */
const problemsOf = (text: string): string[] =>
  read(text).problems.map(({ place, message, hint }) => `${place?.line}: ${message}; ${hint}`);

describe('the flat form', () => {
  const guide = `
provider: huawei
config:
  region: ap-southeast-3
secrets:
  - name: my-app/database
    inject: env
    rotation: true
    reload_strategy:
      type: restart
    mappings:
      password: DB_PASSWORD
agent:
  watch:
    polling_interval: 2m
`;

  test('becomes one provider with the name of its type', () => {
    const { providers, defaults } = configOf(guide);
    expect([...providers.keys()]).toEqual(['huawei']);
    expect(providers.get('huawei')).toMatchObject({ type: 'huawei', region: 'ap-southeast-3' });
    expect(defaults.provider).toBe('huawei');
  });

  test('has the secrets with their mappings, and the strategy of reload_strategy', () => {
    expect(configOf(guide).secrets).toEqual([
      {
        name: 'my-app/database',
        provider: 'huawei',
        inject: { type: 'env' },
        rotation: { enabled: true, strategy: 'restart' },
        mappings: new Map([['password', 'DB_PASSWORD']]),
      },
    ]);
  });

  test('means the same as the form with providers', () => {
    const other = `
providers:
  huawei: {type: huawei, region: ap-southeast-3}
secrets:
  - name: my-app/database
    provider: huawei
    inject: {type: env}
    rotation: {enabled: true, strategy: restart}
    mappings: {password: DB_PASSWORD}
agent: {cache: true, watch: {mode: polling, polling_interval: 120s}}
`;
    expect(configOf(other)).toEqual(configOf(guide));
  });

  test.each([
    ['provider: huawai', '1: there is no provider huawai; did you mean huawei?'],
    [
      'config: {region: eu-west-101}',
      '1: config has no provider; write provider: huawei | aws | vault | openbao | alibabacloud | local',
    ],
    [
      'provider: aws\nproviders: {a: {type: aws}}',
      '1: provider and providers are both set; ' +
        'write defaults.provider for the store of references that name none',
    ],
    [
      'provider: local\nconfig: {region: eu-west-1}',
      '2: config.region has no meaning for local; local has store_file, key_file; ' +
        'docs/docker/dso-yaml.md has an example',
    ],
  ])('refuses %j', (text, problem) => {
    expect(problemsOf(text)).toEqual([problem]);
  });
});

describe('the form with providers', () => {
  test('has stores of every type', () => {
    const text = storeTypes.map((type) => `  ${type}-1: {type: ${type}}\n`).join('');
    expect([...configOf(`providers:\n${text}`).providers.values()].map(({ type }) => type)).toEqual(
      [...storeTypes],
    );
  });

  test('has the addresses of Vault in their order, and one address as a list of one', () => {
    const addresses = 'addresses: ["https://a:8200", "https://b:8200"]';
    const { providers } = configOf(
      `providers:\n  a: {type: vault, ${addresses}}\n  b: {type: vault, config: {address: "https://c"}}`,
    );
    expect(providers.get('a')?.addresses).toEqual(['https://a:8200', 'https://b:8200']);
    expect(providers.get('b')?.addresses).toEqual(['https://c']);
  });

  test('keeps credentials out of the parameters, and warns of them', () => {
    const { config, problems } = read(`
providers:
  v:
    type: vault
    auth:
      method: approle
      params: {role_id: r-1, secret_id: s-1}
`);
    const auth = config!.providers.get('v')!.auth!;
    expect(auth.params).toEqual(new Map([['role_id', 'r-1']]));
    expect(auth.credentials.get('secret_id')!.reveal()).toBe('s-1');
    expect(problems).toMatchObject([
      {
        severity: 'warning',
        message: 'secret_id stands in the file in plain text',
        hint: 'write secret_id_file, the path of a file with mode 0600; docker dso init makes both',
        place: { file: 'dso.yaml', line: 7, column: 30 },
      },
    ]);
    expect(JSON.stringify(problems)).not.toContain('s-1');
  });

  test('has a default only if there is one provider, or defaults name it', () => {
    const two = 'providers: {a: {type: aws}, b: {type: local}}\n';
    expect(configOf(two).defaults.provider).toBeUndefined();
    expect(configOf(`${two}defaults: {provider: b}`).defaults.provider).toBe('b');
    expect(problemsOf(`${two}secrets: [{name: db}]`)).toEqual([
      '2: the secret db names no provider, and there are several; ' +
        'write provider: NAME in it, or defaults.provider',
    ]);
  });

  test.each([
    [
      'providers:\n  a: {type: aws}\nsecrets:\n  - {name: x, provider: b}',
      '4: there is no provider b; did you mean a?',
    ],
    [
      'providers:\n  vault: {type: local, fallback: loca}\n  local: {type: local}',
      '2: there is no provider loca; did you mean local?',
    ],
    [
      'providers:\n  a: {type: aws, fallback: a}',
      '2: a cannot be its own fallback; name another provider',
    ],
    [
      'providers:\n  a: {type: gcp}',
      '2: providers.a.type must be one of huawei, aws, vault, openbao, alibabacloud, local; ' +
        'it is gcp; docs/docker/dso-yaml.md describes every key',
    ],
    [
      'providers:\n  a:\n    type: aws\n    auth: {method: approle}',
      '4: providers.a.auth.method must be one of default, environment, instance_profile, task_role; ' +
        'docs/docker/dso-yaml.md describes every key',
    ],
    [
      'providers:\n  a:\n    type: vault\n    auth: {method: jwt, params: {rol: x}}',
      '4: providers.a.auth.params.rol is not a parameter of jwt; it has role, token_file, mount; ' +
        'docs/docker/dso-yaml.md describes every key',
    ],
    [
      'providers:\n  a.b: {type: aws}',
      '2: providers.a.b must be letters, digits, "-" and "_", at most 63; ' +
        'docs/docker/dso-yaml.md describes every key',
    ],
    [
      'providers:\n  v: {type: vault, address: host}',
      '2: providers.v.address must be a URL such as https://host:8200; ' +
        'it is host; docs/docker/dso-yaml.md describes every key',
    ],
  ])('refuses %j', (text, problem) => {
    expect(problemsOf(text)).toEqual([problem]);
  });
});

describe('a secret', () => {
  const entry = (text: string) => configOf(`secrets:\n  - ${text}`).secrets[0]!;

  test('can become a file with path, owner and mode', () => {
    const written = '{type: file, path: /run/secrets/dso/tls/key, uid: 1000, gid: 0, mode: 0400}';
    expect(entry(`{name: a, inject: ${written}}`).inject).toEqual({
      ...{ type: 'file', path: 'tls/key', uid: 1_000, gid: 0, mode: 0o400 },
    });
  });

  test('takes what it does not say from defaults', () => {
    const { secrets, defaults } = configOf(
      'defaults: {inject: file, rotation: {strategy: rolling}}\nsecrets: [{name: a}, {name: b, inject: env}]',
    );
    expect(secrets.map(({ inject }) => inject.type)).toEqual(['file', 'env']);
    expect(defaults.rotation).toEqual({ enabled: true, strategy: 'rolling' });
  });

  test('sends SIGHUP if a signal is asked for and none is named', () => {
    expect(entry('{name: a, rotation: {strategy: signal, grace: 1m30s}}').rotation).toEqual({
      ...{ enabled: true, strategy: 'signal', signal: 'SIGHUP', graceMs: 90_000 },
    });
  });

  test('is for services by name, or by all of their labels', () => {
    const { targets } = entry('{name: a, targets: {containers: [app], labels: {tier: web}}}');
    expect(targets).toEqual({ containers: ['app'], labels: new Map([['tier', 'web']]) });
  });

  test('can have a name that YAML takes for a number', () => {
    expect(entry('{name: 0123}').name).toBe('0123');
  });

  test.each([
    ['{name: ../etc}', 'secrets[0].name has a "." or ".." element'],
    ['{name: a%2f%2e%2e/b}', 'secrets[0].name has a "." or ".." element'],
    ['{name: /a}', 'secrets[0].name has an empty element: a "/" too many'],
    ['{inject: env}', 'secrets[0].name is missing'],
    ['{name: a, inject: files}', 'secrets[0].inject must be env or file'],
    ['{name: a, inject: {type: env, uid: 1}}', 'secrets[0].inject has path, uid, gid or mode'],
    ['{name: a, inject: {type: file, path: /etc/x}}', 'inject.path must be below /run/secrets/dso'],
    ['{name: a, inject: {type: file, path: a/../..}}', 'inject.path has a "." or ".." element'],
    ['{name: a, inject: {type: file, mode: 9}}', 'inject.mode must be an octal file mode'],
    ['{name: a, rotation: maybe}', 'secrets[0].rotation must be true or false'],
    ['{name: a, rotation: {strategy: restrat}}', 'must be one of restart, rolling, signal, auto'],
    ['{name: a, rotation: {signal: HUP}}', 'must be a signal such as SIGHUP'],
    ['{name: a, mappings: {x: "A=B"}}', 'mappings.x has a "="'],
    ['{name: a, mappings: {x: PATH}}', 'mappings.x cannot hold a secret'],
    ['{name: a, mappings: [x]}', 'mappings must be a map'],
    [
      '{name: a, rotation: {strategy: none}, reload_strategy: {type: restart}}',
      'reload_strategy and rotation.strategy are both set',
    ],
    ['a', 'secrets[0] must be a map'],
  ])('is refused: %s', (text, message) => {
    const { config, problems } = read(`secrets:\n  - ${text}`);
    expect(config).toBeUndefined();
    expect(problems).toHaveLength(1);
    expect(problems[0]!.message).toContain(message);
    expect(problems[0]!.place!.line).toBe(2);
  });
});

describe('dso.yaml', () => {
  test('may be empty', () => {
    for (const text of ['', '# nothing\n', 'secrets:\n'])
      expect(configOf(text)).toEqual({
        ...{ providers: new Map(), secrets: [], defaults: {}, exec: 'on', runtime: 'off' },
        agent: { watch: { pollingIntervalMs: 120_000 } },
      });
  });

  test('turns the shadow PATH off with a word that YAML 1.1 takes for false', () => {
    expect(configOf('exec: off').exec).toBe('off');
  });

  test.each(['29s', '5m1s', '120', '2 m', 'm', ''])('refuses to poll every %j', (interval) => {
    const text = `agent: {watch: {polling_interval: "${interval}"}}`;
    expect(problemsOf(text)[0]).toContain('agent.watch.polling_interval must');
  });

  test.each(['30s', '5m', '4m60s'])('polls every %s', (interval) => {
    configOf(`agent: {watch: {polling_interval: ${interval}}}`);
  });

  test('has all faults reported, each with its line and the nearest name', () => {
    const text = `provders: {}
secrets:
  - name: a
    maping: {}
    injekt: env
  - name: b
    rotation: {enabled: yes}
agent:
  watch: {interval: 2m}
exce: off
`;
    expect(problemsOf(text).sort()).toEqual(
      [
        '10: unknown key: exce; did you mean exec?',
        '1: unknown key: provders; did you mean providers?',
        '4: unknown key: secrets[0].maping; did you mean mappings?',
        '5: unknown key: secrets[0].injekt; did you mean inject?',
        '7: secrets[1].rotation.enabled must be true or false; ' +
          'it is yes; docs/docker/dso-yaml.md describes every key',
        '9: unknown key: agent.watch.interval; the keys there are mode, polling_interval',
      ].sort(),
    );
  });

  test('is reported if it is not YAML, has a key twice or is no map', () => {
    expect(problemsOf('a: [')[0]).toMatch(/^1: not YAML: /);
    expect(problemsOf('exec: on\nexec: off')).toEqual([
      '2: the key exec occurs twice; remove one of them; the first is in line 1',
    ]);
    expect(problemsOf('- a')[0]).toContain('the file must be a map');
    expect(problemsOf('x'.repeat(2 ** 20 + 1))[0]).toContain('more than 1 MiB');
  });

  test('shows no value of auth in problems', () => {
    const { problems } = read('provider: vault\nauth: {method: hvs.planted, params: planted}');
    expect(problems.length).toBeGreaterThan(0);
    expect(JSON.stringify(problems)).not.toContain('planted');
  });

  test('has at most 100 problems and their number reported', () => {
    const items = Array.from({ length: 1_000 }, () => '- {nam: x}\n').join('');
    const { problems } = read(`secrets:\n${items}`);
    expect(problems).toHaveLength(101);
    expect(problems[100]!.message).toBe('there are 1900 more problems');
  });

  test('gives no prototype to a key of the user, and leaves none out', () => {
    expect(
      configOf('secrets: [{name: a, mappings: {constructor: B}}]').secrets[0]!.mappings,
    ).toEqual(new Map([['constructor', 'B']]));
    for (const text of [
      '__proto__: {a: b}',
      'providers: {__proto__: {type: aws}}',
      'secrets: [{name: a, mappings: {__proto__: A}}]',
      'secrets: [{name: a, targets: {labels: {__proto__: A}}}]',
      'provider: vault\nauth: {method: token, params: {__proto__: A}}',
    ])
      expect(problemsOf(text)).toEqual([expect.stringContaining('__proto__')]);
  });

  test('never throws, and reports printable problems', () => {
    const keys = [
      'provider',
      'providers',
      'secrets',
      'name',
      'inject',
      'agent',
      'auth',
      '__proto__',
    ];
    const tree = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom('aws', 'true', 'a/b', '2m', null),
        fc.string(),
        fc.array(tie('node'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom(...keys), tie('node'), { maxKeys: 4 }),
      ),
    }));
    fc.assert(
      fc.property(
        fc.oneof(
          tree.node.map((node) => JSON.stringify(node)),
          fc.string(),
        ),
        (text) => {
          const { config, problems } = read(text);
          const hasError = problems.some(({ severity }) => severity === 'error');
          expect(config === undefined).toBe(hasError);
          for (const { message, hint } of problems) {
            expect(message + hint).toMatch(/^[^\p{Cc}\p{Cs}]+$/u);
            expect(hint).not.toBe('');
          }
        },
      ),
    );
  });
});

describe('a dso.yaml that is empty or absent', () => {
  const local = { type: 'local' } as const;
  test.each<[string, HostDefaults | undefined]>([
    ['nothing', undefined],
    ['one store', { stores: new Map([['a', local]]), exec: 'off', runtime: 'on' }],
    [
      'two stores',
      {
        stores: new Map([
          ['a', local],
          ['b', local],
        ]),
        exec: 'on',
        runtime: 'off',
      },
    ],
    [
      'a default',
      {
        stores: new Map([
          ['a', local],
          ['b', local],
        ]),
        exec: 'on',
        runtime: 'off',
        defaultStore: 'b',
      },
    ],
  ])('is the same configuration on a host that gives %s', (_, host) => {
    expect(emptyConfig(host)).toEqual(readDsoConfig('', 'dso.yaml', host).config);
    expect(emptyConfig()).toEqual(readDsoConfig('', 'dso.yaml', 'unknown').config);
  });
});

describe('a dso.yaml that names no stores', () => {
  const stores = new Map([
    ['aws', { type: 'aws' }],
    ['vault', { type: 'vault' }],
  ] as const);
  const host = { stores, defaultStore: 'vault', exec: 'off', runtime: 'on' } as const;

  test('has the stores of the host, its default, its exec and its runtime', () => {
    const { config, problems } = readDsoConfig('secrets: [{name: a}]', 'dso.yaml', host);
    expect(problems).toEqual([]);
    expect(config).toMatchObject({
      defaults: { provider: 'vault' },
      ...{ exec: 'off', runtime: 'on' },
    });
    expect(config!.providers).toBe(stores);
    expect(config!.secrets).toMatchObject([{ name: 'a', provider: 'vault' }]);
  });

  test('can choose among them, and say exec itself', () => {
    const text = 'defaults: {provider: aws}\nexec: on\nsecrets: [{name: a, provider: vualt}]';
    const { problems } = readDsoConfig(text, 'dso.yaml', host);
    expect(problems).toMatchObject([
      { message: 'there is no provider vualt', hint: 'did you mean vault?', place: { line: 3 } },
    ]);
    const { config } = readDsoConfig(text.replace('vualt', 'vault'), 'dso.yaml', host);
    expect(config).toMatchObject({ defaults: { provider: 'aws' }, exec: 'on' });
  });

  test('may name any store while those of the host are not known', () => {
    const text = 'secrets: [{name: a, provider: vault}]';
    expect(readDsoConfig(text, 'dso.yaml', 'unknown').problems).toEqual([]);
    expect(readDsoConfig(text, 'dso.yaml').problems).toMatchObject([
      { message: 'there is no provider vault', hint: 'describe it under providers' },
    ]);
  });

  test('differs from one that names a store: that has only its own', () => {
    const { config } = readDsoConfig('provider: huawei', 'dso.yaml', host);
    expect([...config!.providers.keys()]).toEqual(['huawei']);
    expect(config!.defaults).toEqual({ provider: 'huawei' });
  });
});
