import { describe, expect, test } from '@jest/globals';
import { type JsonValue, parseJsonText, toJsonText } from '../../formats/json.ts';
import { readDsoConfig } from '../config/read.ts';
import type { ComposeModel, ImageFacts, JsonObject } from './compose-model.ts';
import { imagesNeeded, rewrite } from './rewrite.ts';

const configOf = (text: string) => readDsoConfig(text, 'dso.yaml').config!;
const node: ImageFacts = {
  entrypoint: ['docker-entrypoint.sh'],
  cmd: ['node', 'server.js'],
  path: '/usr/local/bin:/usr/bin:/bin',
};
const images = { node, scratch: { cmd: ['/app'] }, windows: { ...node, os: 'windows' } };

/** A model as Compose prints it, with `service` as the service `app`. */
function modelOf(service: JsonObject, rest: JsonObject = {}): ComposeModel {
  return { name: 'shop', services: { app: { image: 'node', ...service } }, ...rest };
}

/** The rewritten model, which must have no problem. */
function rewritten(model: ComposeModel, dsoYaml = '', facts: Record<string, ImageFacts> = images) {
  const result = rewrite({ model, images: facts, config: configOf(dsoYaml) });
  expect(result.problems).toEqual([]);
  return { ...result, model: result.model! };
}

const appOf = (model: JsonObject): JsonObject =>
  ((model.services as JsonObject).app ?? {}) as JsonObject;

/** The service `app` after it was rewritten with one reference. */
const appWith = (service: JsonObject, image: ImageFacts = node): JsonObject => {
  const environment = { DB_PASSWORD: 'dso://db', ...(service.environment as JsonObject) };
  return appOf(rewritten(modelOf({ ...service, environment }), '', { node: image }).model);
};

/** Each problem as one line. */
function problemsOf(model: ComposeModel, dsoYaml = ''): readonly string[] {
  const result = rewrite({ model, images, config: configOf(dsoYaml) });
  return result.problems.map(
    ({ severity, where, message, hint }) => `${severity} ${where}: ${message}; ${hint}`,
  );
}

describe('a service with references', () => {
  test('has volumes of the driver that is named', () => {
    const model = modelOf({ environment: { A: 'dso://a' } });
    const input = { model, images, config: configOf(''), volumes: { driver: 'other' } };
    const first = rewrite(input);
    expect(first.problems).toEqual([]);
    expect(first.model!.volumes).toEqual({
      'dso_shop.app': { name: 'dso_shop.app', driver: 'other' },
    });
    const volumes = { theirs: { name: 'theirs', driver: 'other' } };
    const mount = { type: 'volume', source: 'theirs', target: '/x' };
    const { problems } = rewrite({ ...input, model: modelOf({ volumes: [mount] }, { volumes }) });
    expect(problems).toMatchObject([{ where: 'services.app.volumes' }]);
  });

  test('mounts directories without an agent, which the engine does not make', () => {
    const volumes = { directory: '/run/user/1000/$dso' };
    const model = modelOf({ environment: { A: 'dso://a', B: 'dsofile://b' } });
    const first = rewrite({ model, images, config: configOf(''), volumes });
    expect(first.problems).toEqual([]);
    expect(first.model).not.toHaveProperty('volumes');
    const bind = { type: 'bind', read_only: true, bind: { create_host_path: false } };
    const below = '/run/user/1000/$$dso';
    expect(appOf(first.model!).volumes).toEqual([
      { ...bind, source: `${below}/dso_shop.app`, target: '/run/dso' },
      { ...bind, source: `${below}/dsofiles_shop.app`, target: '/run/secrets/dso' },
    ]);
    const again = rewrite({ model: first.model!, images, config: configOf(''), volumes });
    expect(again).toEqual({ model: first.model, services: [], problems: [] });
  });

  test.each(['/run/user/1000/dso', '/run/user/1000/dso/dso_shop.other/bin'])(
    'cannot mount the directory of the secrets of others: %s',
    (source) => {
      const model = modelOf({ volumes: [{ type: 'bind', source, target: '/x' }] });
      const volumes = { directory: '/run/user/1000/dso' };
      const { problems } = rewrite({ model, images, config: configOf(''), volumes });
      expect(problems).toMatchObject([
        { message: `service app mounts ${source}, which holds the secrets of another service` },
      ]);
    },
  );

  test('gets the shim, its volume and the shadow PATH, and loses its references', () => {
    const { model, services } = rewritten(
      modelOf({
        command: null,
        entrypoint: null,
        environment: { DB_HOST: 'postgres', DB_PASSWORD: 'dso://my-app/database-password' },
      }),
    );
    expect(model).toEqual({
      name: 'shop',
      services: {
        app: {
          image: 'node',
          entrypoint: ['/run/dso/bin/dso-shim', '--', 'docker-entrypoint.sh'],
          command: ['node', 'server.js'],
          labels: { 'dso.references': expect.stringMatching(/^[0-9a-f]{16}$/) },
          environment: {
            DB_HOST: 'postgres',
            PATH: '/run/dso/bin:/usr/local/bin:/usr/bin:/bin',
          },
          volumes: [
            {
              ...{ type: 'volume', source: 'dso_shop.app', target: '/run/dso' },
              ...{ read_only: true, volume: { nocopy: true } },
            },
          ],
        },
      },
      volumes: { 'dso_shop.app': { name: 'dso_shop.app', driver: 'dso' } },
    });
    expect(services).toEqual([
      {
        ...{ project: 'shop', service: 'app', files: [], exec: 'on' },
        variables: [{ name: 'DB_PASSWORD', ref: { path: 'my-app/database-password' } }],
      },
    ]);
  });

  test('differs if a reference differs, so that Compose starts it with the other secret', () => {
    const withRef = (ref: string) => appWith({ environment: { KEY: ref }, labels: { own: 'x' } });
    expect(withRef('dso://a')).toEqual(withRef('dso://a'));
    expect(withRef('dso://b')).not.toEqual(withRef('dso://a'));
    expect(withRef('dsofile://a')).not.toEqual(withRef('dso://a'));
    expect(withRef('dso://a').labels).toMatchObject({ own: 'x' });
  });

  test('keeps everything else: init, user, read_only, replicas, volumes', () => {
    const rest = {
      ...{ init: true, user: '1000:1000', read_only: true, cap_drop: ['ALL'] },
      ...{ deploy: { replicas: 2 }, network_mode: 'host', working_dir: '/srv' },
      volumes: [{ type: 'volume', source: 'data', target: '/data', volume: {} }],
    };
    const app = appWith(rest);
    expect(app).toMatchObject({ ...rest, volumes: expect.arrayContaining(rest.volumes) });
  });

  test('has its PATH in front of that of the service, of the image or of the engine', () => {
    const pathOf = (app: JsonObject) => (app.environment as JsonObject).PATH;
    expect(pathOf(appWith({ environment: { PATH: '/own:$$HOME' } }))).toBe(
      '/run/dso/bin:/own:$$HOME',
    );
    expect(pathOf(appWith({ environment: { PATH: null } }))).toBe(`/run/dso/bin:${node.path}`);
    expect(pathOf(appWith({}, { cmd: ['x'] }))).toBe(
      '/run/dso/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    );
  });

  test('keeps entrypoint, command, health check and PATH with runtime: on', () => {
    const definition = {
      ...{ entrypoint: null, command: ['own'], environment: { A: 'dso://a', B: 'b' } },
      healthcheck: { test: ['CMD', 'check'] },
    };
    const { model } = rewritten(modelOf(definition), 'runtime: on');
    expect(appOf(model)).toEqual({
      ...definition,
      ...{ image: 'node', runtime: 'dso', environment: { B: 'b' } },
      labels: { 'dso.references': expect.any(String) },
      volumes: [expect.objectContaining({ source: 'dso_shop.app', target: '/run/dso' })],
    });
    // What Compose prints of it is not changed again.
    expect(rewritten(model, 'runtime: on').model).toEqual(model);
  });

  test('has no runtime without references', () => {
    const plain = modelOf({ environment: { B: 'b' }, runtime: 'runsc' });
    expect(rewritten(plain, 'runtime: on').model).toEqual(plain);
  });

  test.each([
    [
      ...[{ runtime: 'runsc' }, 'runtime: on', 'services.app.runtime'],
      'service app has the runtime runsc, and runtime: on of dso.yaml needs the runtime dso',
    ],
    [
      ...[{}, '{runtime: on, exec: off}', 'services.app'],
      'service app cannot have exec: off with runtime: on, because the runtime gives the variables to each program of docker exec',
    ],
  ] as const)('cannot have %p with %s', (definition, dsoYaml, where, message) => {
    const model = modelOf({ environment: { A: 'dso://a' }, ...definition });
    expect(rewrite({ model, images, config: configOf(dsoYaml) }).problems).toMatchObject([
      { severity: 'error', code: 'CANNOT_INJECT', where, message },
    ]);
  });

  test('keeps its PATH with exec: off', () => {
    const environment = { A: 'dso://a', PATH: '/own' };
    const { model, services } = rewritten(modelOf({ environment }), 'exec: off');
    expect(appOf(model).environment).toEqual({ PATH: '/own' });
    expect(services[0]?.exec).toBe('off');
  });

  test.each<[string, JsonObject, ImageFacts, readonly string[], JsonValue | undefined]>([
    ['the image has both', {}, node, ['docker-entrypoint.sh'], ['node', 'server.js']],
    ['it has a command', { command: ['a', '$$B'] }, node, ['docker-entrypoint.sh'], ['a', '$$B']],
    ['it has an entrypoint', { entrypoint: ['e'], command: null }, node, ['e'], null],
    ['it has both', { entrypoint: ['./e'], command: ['c'] }, node, ['./e'], ['c']],
    ['it clears the entrypoint', { entrypoint: [] }, node, [], ['node', 'server.js']],
    [
      'it clears the command',
      { command: [] },
      node,
      ['docker-entrypoint.sh'],
      ['node', 'server.js'],
    ],
    ['the image has a command', {}, { cmd: ['/app'] }, [], ['/app']],
    ['the image has an entrypoint', {}, { entrypoint: ['/app'] }, ['/app'], []],
    [
      'the image names variables',
      {},
      { entrypoint: ['sh', '-c', 'exec $APP'], cmd: ['$1'] },
      ['sh', '-c', 'exec $$APP'],
      ['$$1'],
    ],
  ])('runs what the engine would run if %s', (_, service, image, entrypoint, command) => {
    const app = appWith(service, image);
    expect(app.entrypoint).toEqual(['/run/dso/bin/dso-shim', '--', ...entrypoint]);
    expect(app.command).toEqual(command);
  });

  const shim = ['CMD', '/run/dso/bin/dso-shim', '--'];
  test.each<[string, JsonObject | undefined, ImageFacts, JsonObject | undefined]>([
    ['none', undefined, node, undefined],
    ['CMD', { test: ['CMD', 'pg_isready'] }, node, { test: [...shim, 'pg_isready'] }],
    [
      'CMD-SHELL, with its interval',
      { test: ['CMD-SHELL', 'curl -f $$URL || exit 1'], interval: '10s' },
      node,
      { test: [...shim, '/bin/sh', '-c', 'curl -f $$URL || exit 1'], interval: '10s' },
    ],
    ['NONE', { test: ['NONE'] }, { ...node, healthcheck: ['CMD', 'x'] }, { test: ['NONE'] }],
    ['disable', { disable: true }, { ...node, healthcheck: ['CMD', 'x'] }, { disable: true }],
    [
      "the image's",
      undefined,
      { ...node, healthcheck: ['CMD-SHELL', 'test -f $F'], shell: ['/bin/bash', '-ec'] },
      { test: [...shim, '/bin/bash', '-ec', 'test -f $$F'] },
    ],
    [
      "the image's, with an interval of the service",
      { interval: '1s' },
      { ...node, healthcheck: ['CMD', 'ok'] },
      { test: [...shim, 'ok'], interval: '1s' },
    ],
    ["the image's NONE", undefined, { ...node, healthcheck: ['NONE'] }, undefined],
  ])('has its health check wrapped: %s', (_, healthcheck, image, expected) => {
    const app = appWith({ ...(healthcheck && { healthcheck }) }, image);
    expect(app.healthcheck).toEqual(expected);
  });

  test('reads $$ in a reference as one $', () => {
    const { services } = rewritten(modelOf({ environment: { A: 'dso://a/b$$c#d$$' } }));
    expect(services[0]!.variables[0]!.ref).toEqual({ path: 'a/b$c', field: 'd$' });
  });

  test('takes the image that Compose builds by its name', () => {
    const model = modelOf({ environment: { A: 'dso://a' }, build: { context: '.' } });
    delete (appOf(model) as Record<string, unknown>).image;
    expect(imagesNeeded(model, configOf(''))).toEqual(['shop-app']);
    rewritten(model, '', { 'shop-app': node });
  });

  test('loses references in extensions, where anchors are', () => {
    const environment = { A: 'dso://a' };
    const { model } = rewritten(
      modelOf(
        { environment, 'x-a': environment, 'x-b': 1 },
        { 'x-env': environment, 'x-other': ['kept'] },
      ),
    );
    expect(toJsonText(model)).not.toContain('dso://');
    expect(Object.keys(model)).toEqual(['name', 'services', 'x-other', 'volumes']);
    expect(appOf(model)['x-b']).toBe(1);
  });
});

describe('a reference to a file', () => {
  test('becomes a file of a second volume, and its variable leaves the environment', () => {
    const { model, services } = rewritten(
      modelOf({ environment: { KEY: 'dsofile://prod/tls#key', ALL: 'dsofile://prod/tls' } }),
    );
    expect(services[0]!.files).toEqual([
      { path: 'prod/tls.key', ref: { path: 'prod/tls', field: 'key' }, variable: 'KEY' },
      { path: 'prod/tls', ref: { path: 'prod/tls' }, variable: 'ALL' },
    ]);
    expect(Object.keys(model.volumes as JsonObject)).toEqual([
      ...['dso_shop.app', 'dsofiles_shop.app'],
    ]);
    expect(appOf(model).volumes).toMatchObject([
      { source: 'dso_shop.app', target: '/run/dso' },
      { source: 'dsofiles_shop.app', target: '/run/secrets/dso', read_only: true },
    ]);
    expect(Object.keys(appOf(model).environment as JsonObject)).toEqual(['PATH']);
  });

  test('has path, owner and mode of its entry in dso.yaml', () => {
    const inject = '{type: file, path: tls/server, uid: 1000, gid: 0, mode: 0400}';
    const { services } = rewritten(
      modelOf({ environment: { KEY: 'dsofile://prod/tls#key' } }),
      `secrets: [{name: prod/tls, inject: ${inject}}]`,
    );
    expect(services[0]!.files).toEqual([
      {
        ...{ path: 'tls/server.key', ref: { path: 'prod/tls', field: 'key' }, variable: 'KEY' },
        ...{ uid: 1_000, gid: 0, mode: 0o400 },
      },
    ]);
  });

  test('has the name of its store in its path', () => {
    const { services } = rewritten(
      modelOf({ environment: { A: 'dsofile://vault/a', B: 'dsofile://aws/a' } }),
      'providers: {aws: {type: aws}, vault: {type: vault}}',
    );
    expect(services[0]!.files.map(({ path }) => path)).toEqual(['vault/a', 'aws/a']);
  });

  test('is refused if two secrets would be one file, or one would lie below another', () => {
    const twice = modelOf({ environment: { A: 'dsofile://a.b', B: 'dsofile://a#b' } });
    expect(problemsOf(twice)).toEqual([
      'error services.app.environment.B: the file /run/secrets/dso/a.b is two different secrets; ' +
        'give one of them another path: inject.path of the secret in dso.yaml',
    ]);
    const below = modelOf({ environment: { A: 'dsofile://a', B: 'dsofile://a/b' } });
    expect(problemsOf(below)[0]).toContain(
      'the file /run/secrets/dso/a/b would lie below a, a file itself',
    );
  });
});

describe('the mappings of dso.yaml', () => {
  const guide = (more = '') => `
provider: huawei
secrets:
  - name: my-app/db
    mappings: {username: DB_USER, password: DB_PASSWORD}
${more}`;
  const ref = (field: string) => ({
    ...{ provider: 'huawei', path: 'my-app/db', field, orWhole: true },
  });

  test('fill bare keys, and no others', () => {
    const environment = { DB_PASSWORD: null, OTHER: null };
    const { model, services } = rewritten(modelOf({ environment }), guide());
    expect(services[0]!.variables).toEqual([{ name: 'DB_PASSWORD', ref: ref('password') }]);
    expect(appOf(model).environment).toEqual({ OTHER: null, PATH: expect.any(String) });
  });

  test('go to targets without a bare key: by service, container or labels', () => {
    for (const targets of [
      'containers: [app]',
      'containers: [shop-app]',
      'labels: {tier: web, dso: "true"}',
    ]) {
      const model = modelOf({
        ...{ container_name: 'shop-app', labels: { tier: 'web', dso: 'true' } },
      });
      const { services } = rewritten(model, guide(`    targets: {${targets}}`));
      expect(services[0]!.variables.map(({ name }) => name)).toEqual(['DB_USER', 'DB_PASSWORD']);
    }
  });

  test('go nowhere else', () => {
    const dsoYaml = guide('    targets: {containers: [other], labels: {tier: api}}');
    const model = modelOf({ environment: { DB_PASSWORD: null }, labels: { tier: 'web' } });
    const { services, model: unchanged } = rewritten(model, dsoYaml);
    expect(services).toEqual([]);
    expect(unchanged).toEqual(model);
  });

  test('become files with inject: file, and so do targets without mappings', () => {
    const { services } = rewritten(
      modelOf({ environment: { CERT: null } }),
      `secrets:
  - {name: tls, inject: file, mappings: {crt: CERT}}
  - {name: ca, inject: {type: file, path: ca.pem}, targets: {containers: [app]}}`,
    );
    expect(services[0]!.variables).toEqual([]);
    expect(services[0]!.files).toEqual([
      { path: 'tls.crt', ref: { path: 'tls', field: 'crt', orWhole: true }, variable: 'CERT' },
      { path: 'ca.pem', ref: { path: 'ca' } },
    ]);
  });

  test('give way to a reference of the service', () => {
    const environment = { DB_PASSWORD: 'dso://other' };
    const { services } = rewritten(
      modelOf({ environment }),
      guide('    targets: {containers: [app]}'),
    );
    expect(services[0]!.variables).toEqual([
      { name: 'DB_PASSWORD', ref: { provider: 'huawei', path: 'other' } },
      { name: 'DB_USER', ref: ref('username') },
    ]);
  });

  test('do not replace a value without a word', () => {
    const model = modelOf({ environment: { DB_PASSWORD: 'postgres' } });
    expect(problemsOf(model, guide('    targets: {containers: [app]}'))).toEqual([
      'error services.app.environment.DB_PASSWORD: DB_PASSWORD has a value, and dso.yaml fills it ' +
        'with dso://huawei/my-app/db#password; remove the value, or the mapping',
    ]);
  });

  test('must not fill one variable twice', () => {
    const dsoYaml = 'secrets: [{name: a, mappings: {x: A}}, {name: b, mappings: {x: A}}]';
    expect(problemsOf(modelOf({ environment: { A: null } }), dsoYaml)).toEqual([
      'error services.app.environment.A: two mappings of dso.yaml fill A: of dso://a#x and of ' +
        'dso://b#x; remove one of them, or give them different targets',
    ]);
  });
});

describe('rotation', () => {
  const environment = { A: 'dso://a', B: 'dso://b' };
  const rotationOf = (dsoYaml: string) =>
    rewritten(modelOf({ environment }), dsoYaml).services[0]!.rotation;

  test('is what the secrets say or, if they say nothing, the default', () => {
    expect(rotationOf('')).toBeUndefined();
    expect(rotationOf('defaults: {rotation: true}')).toEqual({ enabled: true, strategy: 'auto' });
    expect(
      rotationOf('defaults: {rotation: true}\nsecrets: [{name: b, rotation: {strategy: restart}}]'),
    ).toEqual({ enabled: true, strategy: 'restart' });
  });

  test('is one for the service', () => {
    const dsoYaml = 'secrets: [{name: a, rotation: true}, {name: b, rotation: false}]';
    expect(problemsOf(modelOf({ environment }), dsoYaml)).toEqual([
      'error services.app.environment: dso.yaml has different rotations for two secrets of the ' +
        'service: a and b; give both the same rotation, or put them into two services',
    ]);
  });

  test('by a signal needs files', () => {
    expect(
      problemsOf(modelOf({ environment }), 'defaults: {rotation: {strategy: signal}}')[0],
    ).toMatch(/^error services.app.environment: .* use dsofile:\/\//);
    const files = modelOf({ environment: { A: 'dsofile://a' } });
    expect(problemsOf(files, 'defaults: {rotation: {strategy: signal}}')).toEqual([]);
  });

  describe('that runs a second container for a while', () => {
    const rolling = 'defaults: {rotation: {strategy: rolling}}';
    const refusal = (key: string, reason: string): string =>
      `error services.app.${key}: service app cannot have the strategy rolling, which runs a ` +
      `second container for a while: ${reason}; use the strategy restart for it`;

    test.each<[JsonObject, string, string]>([
      [{ ports: [{ target: 80, published: '80' }] }, 'ports', 'it publishes a port of the host'],
      [{ container_name: 'shop' }, 'container_name', 'it has a name of its own'],
      [{ network_mode: 'host' }, 'network_mode', 'it uses host'],
      [{ network_mode: 'service:other' }, 'network_mode', 'it uses service:other'],
      [{ mac_address: '02:42:ac:11:00:02' }, 'networks', 'it has a fixed address'],
      [
        { networks: { default: null, own: { ipv4_address: '10.0.0.2' } } },
        'networks',
        'it has a fixed address',
      ],
      [
        { volumes: [{ type: 'volume', source: 'data', target: '/data' }] },
        'volumes',
        'it can write to /data',
      ],
      [
        { volumes: [{ type: 'bind', source: '/srv', target: '/srv' }] },
        'volumes',
        'it can write to /srv',
      ],
    ])('is refused for %j', (definition, key, reason) => {
      expect(problemsOf(modelOf({ environment, ...definition }), rolling)).toEqual([
        refusal(key, reason),
      ]);
    });

    test('is refused if the image keeps data, or another service uses the network', () => {
      const model = modelOf({ environment });
      const facts = { ...images, node: { ...node, volumes: ['/var/lib/data'] } };
      const { problems } = rewrite({ model, images: facts, config: configOf(rolling) });
      expect(problems).toMatchObject([{ where: 'services.app.image' }]);
      const other = { image: 'node', network_mode: 'service:app' };
      const both = { ...model, services: { ...(model.services as JsonObject), other } };
      expect(problemsOf(both, rolling)).toEqual([
        refusal('network_mode', 'service other uses its network'),
      ]);
    });

    test('is allowed with volumes that it only reads, and with networks', () => {
      const volumes = [
        { type: 'volume', source: 'data', target: '/data', read_only: true },
        { type: 'tmpfs', target: '/tmp' },
      ];
      const networks = { default: null, own: { aliases: ['shop'] } };
      expect(problemsOf(modelOf({ environment, volumes, networks }), rolling)).toEqual([]);
    });
  });
});

describe('a service without references', () => {
  test('stays the same object, also beside one that has some', () => {
    const other = parseJsonText(
      '{"image":"redis","command":["a","$$b"],"environment":{"A":null,"N":"dso"},"x-n":1.50}',
    );
    const model = modelOf({ environment: { A: 'dso://a' } });
    const services = { ...(model.services as JsonObject), other };
    const result = rewritten({ ...model, services }).model;
    expect((result.services as JsonObject).other).toBe(other);
  });

  test('needs no image', () => {
    expect(imagesNeeded(modelOf({}), configOf(''))).toEqual([]);
    expect(rewritten(modelOf({ image: 'unknown' })).model).toEqual(modelOf({ image: 'unknown' }));
  });
});

describe('a reference elsewhere is refused with where and why', () => {
  test.each<[JsonObject, string]>([
    [
      { build: { args: { TOKEN: 'dso://a' } } },
      'error services.app.build.args.TOKEN: services.app.build.args.TOKEN has a reference: what a ' +
        'build takes stays in the image and its history; use a build secret: secrets of build',
    ],
    [
      { labels: { a: 'dso://a' } },
      'error services.app.labels.a: services.app.labels.a has a reference: docker inspect shows ' +
        'it; write the reference under environment, and use the variable',
    ],
    [{ command: ['run', '--token', 'dso://a'] }, 'error services.app.command[2]: '],
    [{ entrypoint: ['DSO://a'] }, 'error services.app.entrypoint[0]: '],
    [{ healthcheck: { test: ['CMD', 'dso://a'] } }, 'error services.app.healthcheck.test[1]: '],
    [{ ports: [{ published: 'dso://a' }] }, 'error services.app.ports[0].published: '],
    [{ image: 'dso://a' }, 'error services.app.image: '],
    [{ post_start: [{ environment: { A: 'dso://a' } }] }, 'error services.app.post_start[0].env'],
    [{ environment: { 'dso://a': 'b' } }, 'error services.app.environment.dso://a: '],
    [{ environment: { A: ['dso://a'] } }, 'error services.app.environment.A[0]: '],
    [{ environment: ['A=dso://a'] }, 'error services.app.environment[0]: '],
    [
      { environment: { URL: 'postgres://u:dso://db@host' } },
      'error services.app.environment.URL: the reference is a part of a longer text; store the ' +
        'whole text as one secret, or use one variable for each part',
    ],
    [
      { environment: { A: 'dso:///my-app/db' } },
      'error services.app.environment.A: a reference begins with dso://, not with dso:///; ' +
        'write dso://my-app/db',
    ],
    [
      { environment: { PATH: 'dso://a' } },
      'error services.app.environment.PATH: the variable PATH',
    ],
    [{ environment: { 'A B': 'dso://a' } }, 'error services.app.environment.A B: the variable A B'],
  ])('%j', (service, problem) => {
    const problems = problemsOf(modelOf(service));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
    expect(
      rewrite({ model: modelOf(service), images, config: configOf('') }).model,
    ).toBeUndefined();
  });

  test('at the top of the model', () => {
    const configs = { app: { content: 'password=dso://a' } };
    expect(problemsOf(modelOf({}, { configs }))[0]).toMatch(/^error configs.app.content: /);
    expect(problemsOf(modelOf({}, { 'dso://a': 1 }))[0]).toMatch(/^error dso:\/\/a: /);
  });
});

describe('what cannot work is refused', () => {
  const environment = { A: 'dso://a' };
  test.each<[string, JsonObject, string]>([
    [
      'a mount of its own at /run/dso',
      { volumes: [{ type: 'bind', source: '/x', target: '/run/dso/' }] },
      'error services.app.volumes[0]: service app already mounts something at /run/dso, where its ' +
        'secrets are; mount it elsewhere',
    ],
    [
      'a mount in other words',
      { volumes: [{ type: 'volume', source: 'x', target: '/run/../run//dso' }] },
      'error services.app.volumes[0]: ',
    ],
    ['a tmpfs below it', { tmpfs: ['/run/dso/tmp:size=1m'] }, 'error services.app.tmpfs[0]: '],
    [
      'a Compose secret among the files',
      { secrets: [{ source: 'dso' }], environment: { A: 'dsofile://a' } },
      'error services.app.secrets[0]: service app already mounts something at /run/secrets/dso',
    ],
    [
      'an image that is missing',
      { image: 'lost:1' },
      'error services.app.image: the engine has no image lost:1, whose command is needed; ' +
        'pull it: docker dso pull',
    ],
    [
      'an image that must be built',
      { image: 'lost', build: { context: '.' } },
      'build it: docker dso build',
    ],
    [
      'a Windows image',
      { image: 'windows' },
      'error services.app.image: service app runs a Windows',
    ],
    [
      'a Windows platform',
      { platform: 'windows/amd64' },
      'error services.app.platform: service app',
    ],
    [
      'nothing to run',
      { image: 'scratch', entrypoint: [''] },
      'error services.app.command: service app has no command, and neither has its image',
    ],
    ['a provider service', { provider: { type: 'x' } }, 'error services.app.provider: service app'],
    ['the image named after a prototype', { image: 'constructor' }, 'no image constructor'],
  ])('%s', (_, service, problem) => {
    const problems = problemsOf(modelOf({ environment, ...service }));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });

  test('a tmpfs at /run is no obstacle', () => {
    rewritten(modelOf({ environment, tmpfs: ['/run'] }));
  });

  test('another service that would get the secrets with the volumes', () => {
    const model = modelOf({ environment });
    const thief = { image: 'node', volumes_from: ['app:ro'] };
    const problemsWith = (service: JsonObject) =>
      problemsOf({ ...model, services: { ...(model.services as JsonObject), thief: service } });
    // The files of app would come too, although thief has variables of its own.
    expect(problemsWith({ ...thief, environment })).toHaveLength(1);
    expect(problemsWith(thief)).toEqual([
      'error services.thief.volumes_from[0]: service thief would get the secrets of app with its ' +
        'volumes; list the volumes that it needs under volumes',
    ]);
  });

  test.each([
    { name: 'dso_other.app', external: true },
    { name: 'x', driver: 'dso' },
  ])('a mount of the secrets of others: %j', (definition) => {
    const volumes = [{ type: 'volume', source: 'v', target: '/x' }];
    const model = modelOf({ volumes }, { volumes: { v: definition } });
    expect(problemsOf(model)[0]).toContain('mounts v, which holds the secrets of another service');
  });

  test('a mount that looks like that of an earlier run, and is of another application', () => {
    const volumes = [{ type: 'volume', source: 'dso_shop.app', target: '/run/dso' }];
    const definition = { name: 'dso_other.app', external: true };
    const model = modelOf({ volumes }, { volumes: { 'dso_shop.app': definition } });
    expect(problemsOf(model)[0]).toContain('mounts dso_shop.app, which holds the secrets of');
  });

  test('a volume with the name of one of ours', () => {
    const volumes = { 'dso_shop.app': { name: 'data' } };
    expect(problemsOf(modelOf({ environment }, { volumes }))[0]).toMatch(
      /^error volumes.dso_shop.app: /,
    );
  });

  test('a project or service with a hostile name, or no application', () => {
    for (const name of ['a.b', 'A', '../x', 'x'.repeat(101), 1])
      expect(problemsOf({ ...modelOf({}), name })[0]).toMatch(/^error name: /);
    const services = { '../x': { image: 'node', environment } };
    expect(problemsOf({ name: 'shop', services })[0]).toContain('service ../x needs a name');
    for (const model of [{}, { name: 'shop', services: [] }] as ComposeModel[])
      expect(problemsOf(model)[0]).toContain('not the model of a Compose application');
  });

  test('10,000 services, a thousand secrets of one, and a reference of a megabyte', () => {
    const service = { image: 'node', environment };
    const many = Array.from({ length: 10_000 }, (_, index) => [`s${index}`, service]);
    expect(problemsOf({ name: 'shop', services: Object.fromEntries(many) })).toEqual([
      'error services: 10000 services have secrets; at most 1000 are allowed; ' +
        'split the application into several projects',
    ]);
    const names = Array.from({ length: 1_000 }, (_, index) => [`A${index}`, 'dso://a']);
    expect(problemsOf(modelOf({ environment: Object.fromEntries(names) }))[0]).toContain(
      'service app has 1000 secrets; at most 500 are allowed',
    );
    const long = `dso://${'a'.repeat(1_048_576)}`;
    for (const model of [
      modelOf({ environment: { A: long } }),
      modelOf({ labels: { [long]: long } }),
      modelOf({ environment: { [long]: 'dso://a' } }),
    ])
      for (const problem of problemsOf(model)) expect(problem.length).toBeLessThan(1_000);
  });

  test('thousands of faults, which are counted', () => {
    const wrong = Array.from({ length: 5_000 }, (_, index) => [`A${index}`, 'dso:///a']);
    const problems = problemsOf(modelOf({ environment: Object.fromEntries(wrong) }));
    expect(problems).toHaveLength(101);
    expect(problems[100]).toContain('there are 4900 more problems');
  });
});

test('volumes of two services never have one name', () => {
  const volumesOf = (name: string, service: string) => {
    const services = { [service]: { image: 'node', environment: { A: 'dsofile://a' } } };
    return Object.keys(rewritten({ name, services }).model.volumes as JsonObject);
  };
  const names = [
    ...volumesOf('a_b', 'c'),
    ...volumesOf('a', 'b_c'),
    ...volumesOf('a', 'b.c'),
    ...volumesOf('a', 'c'),
    ...volumesOf('a', 'c_files'),
  ];
  expect(new Set(names).size).toBe(10);
});
