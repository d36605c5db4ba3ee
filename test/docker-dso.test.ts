import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { ServiceStatus } from '../src/docker/agent-api.ts';
import {
  type PluginHost,
  type Services,
  model,
  startPluginHost,
  withSecret,
} from './docker/plugin.ts';
import { builtPlugin } from './driver/bundle.ts';
import type { FakeDockerAgent } from './fakes/docker-agent.ts';
import type { DockerAnswer, FakeDocker } from './fakes/docker-cli.ts';

let host: PluginHost;
let folder: string;
let docker: FakeDocker;
let agent: FakeDockerAgent;
let run: PluginHost['run'];
let runWords: PluginHost['runWords'];
beforeAll(() => builtPlugin(), 120_000);
beforeEach(async () => {
  host = await startPluginHost();
  ({ folder, docker, agent, run, runWords } = host);
});
afterEach(() => host.stop());

const write = (name: string, text: string): Promise<void> => host.write(name, text);

const facts = { Cmd: ['node', 'server.js'], Env: ['PATH=/usr/bin:/bin'] };
const image = (config: object = facts): string => `${JSON.stringify({ config, os: 'linux' })}\n`;
const images = { when: '(^| )image inspect', stdout: image() };
const noImages = { when: '^image inspect', stderr: 'Error: No such image: x\n', code: 1 };

/** The words of each call. */
const lines = (): Promise<readonly string[]> => host.lines();

/** The last call. */
async function lastCall() {
  return (await docker.calls()).at(-1)!;
}

describe('docker dso as a plugin', () => {
  test('says what it is without Node', async () => {
    const { stdout } = await run('docker-cli-plugin-metadata', { env: { PATH: '/nowhere' } });
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ SchemaVersion: '0.1.0', Vendor: 'Keyferry' },
      Version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      ShortDescription: expect.any(String),
    });
  });

  test('says in one line that it needs Node', async () => {
    const { code, stderr } = await run('dso up', { env: { PATH: '/nowhere' } });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^docker dso: there is no node in PATH; install Node [\d.]+ or newer\n$/,
    );
  });

  test.each(['dso --version', 'dso -v', 'dso version', '--version'])(
    'prints its version: %s',
    async (line) => {
      const { code, stdout } = await run(line);
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: expect.stringMatching(/^docker dso version \d+\.\d+\.\d+\n$/),
      });
    },
  );

  test.each(['dso', 'dso --help', 'dso -h', 'dso help'])('prints its help: %s', async (line) => {
    const { code, stdout } = await run(line);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Usage: docker dso .*^ {2}inspect .*^ {2}system info /ms);
  });

  test('prints the help of its own commands, and of groups of them', async () => {
    expect((await run('dso secret refresh --help')).stdout).toMatch(
      /^Usage: docker dso secret refresh \[options\] <path>/,
    );
    expect((await run('dso secret --help')).stdout).toMatch(/list .*refresh /s);
  });

  test('names the help after a wrong command line, with exit code 2', async () => {
    const { code, stderr } = await run('dso inspect --colour app');
    expect(code).toBe(2);
    expect(stderr).toMatch(/unknown option '--colour'\nsee docker dso inspect --help\n$/);
  });
});

describe('commands of Compose', () => {
  test.each([
    ['dso top', 'compose top'],
    ['dso logs app', 'compose logs app'],
    [
      'dso -f a.yaml -p x --profile debug restart app',
      'compose -f a.yaml -p x --profile debug restart app',
    ],
    [
      '--context x --tlsverify -H tcp://a:2376 dso stop -t 5',
      '--context x --tlsverify -H tcp://a:2376 compose stop -t 5',
    ],
    ['dso build --no-cache', 'compose build --no-cache'],
    ['dso config', 'compose config'],
    ['dso up --help', 'compose up --help'],
    ['dso help up', 'compose help up'],
    ['dso a-new-command --flag', 'compose a-new-command --flag'],
  ])('pass through: %s', async (line, passed) => {
    expect(await run(line)).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await lines()).toEqual([passed]);
    expect(agent.server.requests).toEqual([]);
  });

  test('have their input, output and exit code', async () => {
    await docker.answer([
      { when: 'exec', readsStdin: true, stdout: 'out', stderr: 'err', code: 7 },
    ]);
    const result = await run('dso exec -T app cat', { input: 'typed' });
    expect(result).toEqual({ code: 7, stdout: 'out', stderr: 'err' });
    expect((await lastCall()).stdin).toBe('typed');
  });

  test('get a signal that the plugin gets', async () => {
    await docker.answer([{ when: 'logs', stdout: 'ready', waits: true }]);
    const { code } = await run('dso logs -f', { onOutput: (kill) => kill('SIGTERM') });
    expect(code).toBe(42);
  });

  test('run with the docker that runs the plugin', async () => {
    const env = {
      PATH: process.env.PATH ?? '',
      DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND: join(docker.bin, 'docker'),
    };
    expect((await run('dso ps', { env })).code).toBe(0);
    expect(await lines()).toEqual(['compose ps']);
  });

  test('that there are not get a hint, after what Compose says', async () => {
    await docker.answer([{ when: 'insepct', stderr: 'unknown docker command\n', code: 1 }]);
    const { code, stderr } = await run('dso insepct app');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^unknown docker command\ndocker dso: insepct .* did you mean inspect\?\n$/,
    );
  });

  test('cannot stand behind a flag that could take them as its value', async () => {
    const { code, stderr } = await run('dso --new-flag up');
    expect(code).toBe(1);
    expect(stderr).toBe(
      'docker dso: the flag --new-flag before the command is not known; write its value with it: --new-flag=VALUE\n',
    );
    expect(await docker.calls()).toEqual([]);
  });

  test('say that there is no Compose', async () => {
    // Docker takes the flags of Compose for its own.
    await docker.answer([
      { when: 'version', stderr: 'docker: unknown command: docker compose\n', code: 1 },
      { when: 'ps', stderr: "unknown shorthand flag: 'f' in -f\n", code: 125 },
    ]);
    const { code, stderr } = await run('dso -f a.yaml ps');
    expect(code).toBe(1);
    expect(stderr.split('\n').at(-2)).toMatch(
      /^docker dso: docker has no plugin compose; install it/,
    );
  });

  test('say that there is no docker', async () => {
    await symlink(process.execPath, join(folder, 'node'));
    const { stderr } = await run('dso ps', { env: { PATH: folder } });
    expect(stderr).toBe("docker dso: there is no docker in PATH; install Docker's command line\n");
  });
});

describe('docker dso up', () => {
  test('gives Compose the application without references, and the agent the names', async () => {
    await docker.answer([model({ app: withSecret, db: { image: 'postgres' } }), images]);
    expect(await run('dso up -d --wait app')).toEqual({ code: 0, stdout: '', stderr: '' });

    const { args, model: given } = await lastCall();
    expect(args.join(' ')).toBe(
      `compose --project-name shop --project-directory ${folder}/app --file /dev/fd/3 up -d --wait app`,
    );
    expect(given).toEqual({
      name: 'shop',
      networks: { default: {} },
      services: {
        app: {
          image: 'my-app:latest',
          entrypoint: ['/run/dso/bin/dso-shim', '--'],
          command: ['node', 'server.js'],
          environment: { NODE_ENV: 'production', PATH: '/run/dso/bin:/usr/bin:/bin' },
          labels: { 'dso.references': expect.any(String) },
          volumes: [expect.objectContaining({ source: 'dso_shop.app', target: '/run/dso' })],
        },
        db: { image: 'postgres' },
      },
      volumes: { 'dso_shop.app': { name: 'dso_shop.app', driver: 'dso' } },
    });
    expect(agent.projects.get('shop')).toEqual({
      services: [
        {
          ...{ project: 'shop', service: 'app', files: [], exec: 'on' },
          variables: [
            { name: 'DB_PASSWORD', ref: { provider: 'aws', path: 'my-app/db', field: 'password' } },
          ],
        },
      ],
      stores: {},
      directory: join(folder, 'app'),
      isNamed: false,
    });
  });

  test('does the same thing the second time, so that Compose changes nothing', async () => {
    await docker.answer([model({ app: withSecret }), images]);
    await run('dso up -d');
    const first = await lastCall();
    await run('dso up -d');
    expect(await lastCall()).toEqual(first);
  });

  test('keeps the flags of Docker and of Compose, and replaces those that choose the model', async () => {
    await docker.answer([model({ app: withSecret }), images]);
    await write('.env', 'COMPOSE_PROFILES=debug\n');
    await run('--context x dso -f a.yaml -p shop --env-file .env --ansi never up');
    const [config = '', inspect, up] = await lines();
    expect(config).toBe(
      '--context x compose -f a.yaml -p shop --env-file .env --ansi never --profile * config --format json',
    );
    expect(inspect).toMatch(/^--context x image inspect .* my-app:latest$/);
    expect(up).toBe(
      `--context x compose --env-file .env --ansi never --profile debug --project-name shop --project-directory ${folder}/app --file /dev/fd/3 up`,
    );
  });

  test('leaves standard input to the command', async () => {
    await docker.answer([model({ app: withSecret }), images, { when: ' run ', readsStdin: true }]);
    await run('dso run --rm app cat -n', { input: 'typed' });
    const { args, stdin } = await lastCall();
    expect(stdin).toBe('typed');
    expect(args.slice(-5)).toEqual(['run', '--rm', 'app', 'cat', '-n']);
  });

  test('takes the application from standard input, and starts it also without secrets', async () => {
    await docker.answer([{ ...model({ app: withSecret }), readsStdin: true }, images]);
    await run('dso -f - up', { input: 'services: ...' });
    expect((await docker.calls())[0]!.stdin).toBe('services: ...');
    expect((await lastCall()).args.join(' ')).toContain('--file /dev/fd/3 up');

    await docker.answer([{ ...model({ db: { image: 'x' } }), readsStdin: true }]);
    await run('dso -f - up', { input: 'services: ...' });
    expect(await lastCall()).toMatchObject({ model: { services: { db: { image: 'x' } } } });
  });

  test('is the command of Compose itself if no service has secrets', async () => {
    await agent.server.close();
    await docker.answer([model({ app: { image: 'x', environment: { A: 'b' } } })]);
    expect(await run('dso -f a.yaml up -d')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await lines()).at(-1)).toBe('compose -f a.yaml up -d');
  });

  test.each(['create', 'scale app=2', 'watch', 'run app', 'up --dry-run'])(
    'is not the only command with secrets: %s',
    async (line) => {
      await docker.answer([model({ app: withSecret }), images]);
      expect((await run(`dso ${line}`)).code).toBe(0);
      expect((await lastCall()).args.join(' ')).toContain(`--file /dev/fd/3 ${line}`);
      expect(JSON.stringify((await lastCall()).model)).not.toContain('dso://');
      expect(agent.projects.has('shop')).toBe(!line.includes('dry-run'));
    },
  );

  test('ends with the exit code of Compose', async () => {
    await docker.answer([model({ app: withSecret }), images, { when: ' up', code: 17 }]);
    expect((await run('dso up')).code).toBe(17);
  });

  test('takes another name of the volume driver', async () => {
    await docker.answer([model({ app: withSecret }), images]);
    await run('dso up', { env: { DSO_VOLUME_DRIVER: 'other' } });
    expect((await lastCall()).model).toMatchObject({
      volumes: { 'dso_shop.app': { driver: 'other' } },
    });
  });

  test('starts what run names with the secrets, also with another entrypoint', async () => {
    await docker.answer([model({ app: withSecret, db: { image: 'x' } }), images]);
    const shim = ['--entrypoint', '/run/dso/bin/dso-shim -- psql -h db'];
    await runWords(['dso', 'run', '--entrypoint=psql -h db', 'app', '-l']);
    expect((await lastCall()).args.slice(-5)).toEqual(['run', ...shim, 'app', '-l']);
    await runWords(['dso', 'run', '--entrypoint', 'psql', 'db']);
    expect((await lastCall()).args.slice(-4)).toEqual(['run', '--entrypoint', 'psql', 'db']);
  });
});

describe('stores of docker dso up', () => {
  const reference = (text: string) => ({ ...withSecret, environment: { A: text } });
  const refs = () =>
    agent.projects
      .get('shop')
      ?.services.flatMap(({ variables }) => variables.map(({ ref }) => ref));

  test('are those of the host, with its default and its exec', async () => {
    agent.state.info = {
      ...agent.state.info,
      stores: [
        { name: 'aws', type: 'aws' },
        { name: 'vault', type: 'vault' },
      ],
      ...{ defaultStore: 'vault', exec: 'off' },
    };
    await docker.answer([
      model({ app: reference('dso://secret/data/a#b'), web: reference('dso://aws/x') }),
      { when: '^image', stdout: image() },
    ]);
    await run('dso up');
    expect(refs()).toEqual([
      { provider: 'vault', path: 'secret/data/a', field: 'b' },
      { provider: 'aws', path: 'x' },
    ]);
    expect(agent.projects.get('shop')).toMatchObject({ services: [{ exec: 'off' }, {}] });
  });

  test('are those of the project, without its logins, of which it warns', async () => {
    await write(
      'dso.yaml',
      'providers:\n  v:\n    type: vault\n    address: https://v:8200\n    namespace: n\n    auth: {method: jwt, params: {role: r}}\n',
    );
    await docker.answer([model({ app: reference('dso://v/secret/data/a') }), images]);
    const { code, stderr } = await run('dso up');
    expect(code).toBe(0);
    expect(stderr).toBe(
      `dso.yaml:6:5: warning: the agent does not use auth of v from a project [INVALID_CONFIGURATION]
    the agent logs in as /etc/dso/dso.yaml says; docker dso init writes it
`,
    );
    expect(refs()).toEqual([{ provider: 'v', path: 'secret/data/a' }]);
    expect(agent.projects.get('shop')!.stores).toEqual({
      v: { type: 'vault', addresses: ['https://v:8200'], namespace: 'n' },
    });
  });

  test('of the project cannot have credentials', async () => {
    await write(
      'dso.yaml',
      'provider: huawei\nconfig: {region: ap-southeast-3}\nauth: {method: access_key, params: {access_key: a, secret_key: hunter2}}\n',
    );
    await docker.answer([model({ app: reference('dso://a') }), images]);
    const { code, stderr } = await run('dso up');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /dso.yaml:3:1: error: the agent takes no credentials of huawei from a project/,
    );
    expect(stderr).not.toContain('hunter2');
    expect(agent.projects.size).toBe(0);
  });

  test('are named in the file that --config or DSO_CONFIG says', async () => {
    await write('my.yaml', 'provider: aws\nsecrets: [{name: x, mappings: {k: A}}]\n');
    await docker.answer([model({ app: { ...withSecret, environment: { A: null } } }), images]);
    await run('dso --config my.yaml up');
    expect(refs()).toMatchObject([{ provider: 'aws', path: 'x', field: 'k' }]);
    agent.projects.clear();
    await run('dso up', { env: { DSO_CONFIG: 'my.yaml' } });
    expect(refs()).toHaveLength(1);
    expect((await run('dso --config no.yaml up')).stderr).toBe(
      'docker dso: no.yaml cannot be read: no such file; check --config and DSO_CONFIG\n',
    );
  });
});

describe('images of docker dso up', () => {
  const app = { ...withSecret, image: 'a' };
  /** There only after a pull or a build. */
  const later = (after: number): readonly DockerAnswer[] => [{ ...images, after }, noImages];
  /** The calls between the model and the command. */
  const steps = async () =>
    (await lines())
      .filter((line) => !line.startsWith('image') && !line.includes('config --format'))
      .map((line) => line.replace(/^compose .*--file \/dev\/fd\/3 /, ''));

  test('are pulled first if they are missing', async () => {
    await docker.answer([model({ app, web: { ...app, image: 'b' } }), ...later(3)]);
    expect((await run('dso up --quiet-pull')).code).toBe(0);
    expect(await steps()).toEqual(['pull --quiet app web', 'up --quiet-pull']);
  });

  test('are built first if they are missing and can be built', async () => {
    const built = { environment: app.environment, build: { context: '.' } };
    await docker.answer([model({ app: built }), ...later(1)]);
    expect((await run('dso up')).code).toBe(0);
    expect(await steps()).toEqual(['build app', 'up']);
  });

  test('are pulled or else built, if both are possible', async () => {
    const both = { ...app, build: { context: '.' } };
    await docker.answer([model({ app: both }), { when: 'pull', code: 1 }, ...later(2)]);
    expect((await run('dso up')).code).toBe(0);
    expect(await steps()).toEqual(['pull --ignore-pull-failures app', 'build app', 'up']);
  });

  test('are built before Compose starts with --build, and then not again', async () => {
    const build = { context: '.' };
    await docker.answer([
      model({ app: { ...app, build }, other: { build }, db: { image: 'x' } }),
      images,
    ]);
    expect((await run('dso up --build -d')).code).toBe(0);
    expect(await steps()).toEqual(['build app', 'up -d']);
    const { services } = (await lastCall()).model as { services: Services };
    expect(services.app).not.toHaveProperty('pull_policy');
    expect(services.other).toHaveProperty('pull_policy', 'build');
    expect(services.db).toEqual({ image: 'x' });
  });

  test('are pulled before Compose starts with --pull always, and then not again', async () => {
    await docker.answer([model({ app, db: { image: 'x' } }), images]);
    await run('dso up --pull always');
    expect(await steps()).toEqual(['pull app', 'up']);
    const { services } = (await lastCall()).model as { services: Services };
    expect(services.app).not.toHaveProperty('pull_policy');
    expect(services.db).toEqual({ image: 'x', pull_policy: 'always' });
  });

  test('of services that are not started are not pulled', async () => {
    await docker.answer([
      model({ app, other: { ...app, image: 'b' }, debug: { ...app, image: 'c', profiles: ['x'] } }),
      { when: '^image .* -- a$', stdout: image() },
      noImages,
    ]);
    expect(await run('dso up app')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await steps()).toEqual(['up app']);
    expect(agent.projects.get('shop')!.services.map(({ service }) => service)).toEqual([
      ...['app', 'other', 'debug'],
    ]);
  });

  test('are not pulled by a dry run', async () => {
    await docker.answer([model({ app }), noImages]);
    expect((await run('dso --dry-run up')).code).toBe(0);
    expect(await steps()).toEqual(['up']);
  });

  test('that may not be pulled are an error with the remedy', async () => {
    await docker.answer([model({ app }), noImages]);
    const { code, stderr } = await run('dso up --pull never');
    expect(code).toBe(1);
    expect(stderr).toBe(
      `services.app.image: error: the engine has no image a, whose command is needed [CANNOT_INJECT]
    pull it: docker dso pull
`,
    );
  });

  test('that cannot be pulled end the start with the exit code of the pull', async () => {
    await docker.answer([model({ app }), noImages, { when: 'pull', code: 18 }]);
    expect((await run('dso up')).code).toBe(18);
    expect(await steps()).toEqual(['pull app']);
  });
});

describe('faults of an application', () => {
  test('have file, line, cause and remedy, and nothing starts', async () => {
    await write(
      'compose.yaml',
      'services:\n  app:\n    image: a\n    environment:\n      - A=dso:///a\n    labels: {x: "dso://b"}\n',
    );
    const service = { ...withSecret, environment: { A: 'dso:///a' }, labels: { x: 'dso://b' } };
    await docker.answer([model({ app: service }), images]);
    const { code, stderr } = await run('dso up');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^compose.yaml:5:9: error: .* \[INVALID_REFERENCE\]\n {4}write dso:\/\/a\n/m,
    );
    expect(stderr).toMatch(/^compose.yaml:6:14: error: .* \[MISPLACED_REFERENCE\]\n/m);
    expect(await lines()).toHaveLength(1);
    expect(agent.projects.size).toBe(0);
  });

  test('in dso.yaml are reported in the same way', async () => {
    await write('dso.yaml', 'provider: aws\nsecrts: []\n');
    await docker.answer([model({ app: withSecret })]);
    const { code, stderr } = await run('dso up');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr:
        'dso.yaml:2:1: error: unknown key: secrts [INVALID_CONFIGURATION]\n    did you mean secrets?\n',
    });
  });

  test('that Compose finds are in its own words, with its exit code', async () => {
    await docker.answer([
      {
        when: 'config',
        stderr: 'validating compose.yaml: \u001b[31mservices must be a mapping\n',
        code: 15,
      },
      { when: 'version --short', stdout: '2.40.3\n' },
    ]);
    expect(await run('dso up')).toEqual({
      ...{ code: 15, stdout: '' },
      stderr: 'validating compose.yaml: \\u{1b}[31mservices must be a mapping\n',
    });
  });

  test('of an inactive service do not stop the others', async () => {
    await docker.answer([
      { when: '--profile \\*', stderr: 'env file dev.env not found\n', code: 1 },
      model({ app: withSecret }),
      images,
    ]);
    expect(await run('dso up')).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('can be a reference in --env of run', async () => {
    await docker.answer([model({ app: withSecret }), images]);
    const { code, stderr } = await run('dso run -e TOKEN=dso://x app');
    expect(code).toBe(1);
    expect(stderr).toContain('--env: error: --env TOKEN=dso://x is a reference');
  });
});

describe('what docker dso up needs', () => {
  beforeEach(() => docker.answer([model({ app: withSecret }), images]));

  test('is an agent that runs', async () => {
    const { code, stderr } = await run('dso up', { env: { DSO_AGENT_SOCKET: '/no/agent.sock' } });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^docker dso: the agent of docker dso does not run: nothing listens on \/no\/agent.sock; start it: .*\n$/,
    );
    expect(await lines()).toHaveLength(1);
  });

  test('is an agent that agrees', async () => {
    agent.server.injectFault({
      route: 'PUT',
      response: {
        status: 403,
        body: {
          code: 'NOT_GRANTED',
          message: 'shop may not name the endpoint of aws',
          hint: 'add the store to /etc/dso/dso.yaml',
        },
      },
    });
    const { code, stderr } = await run('dso up');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr:
        'docker dso: shop may not name the endpoint of aws; add the store to /etc/dso/dso.yaml\n',
    });
    expect((await lines()).at(-1)).toMatch(/^image inspect/);
  });

  test.each([
    ['an answer of another program', { status: 200, body: '<html>' }, 'is not the agent'],
    ['an empty error', { status: 502, body: '' }, 'HTTP 502'],
  ])('is not %s', async (_, response, message) => {
    agent.server.injectFault({ response });
    const { code, stderr } = await run('dso up');
    expect(code).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  test.each([
    [
      'is not there',
      { when: 'version', stderr: "docker: 'compose' is not a docker command.\n", code: 1 },
      'docker has no plugin compose',
    ],
    [
      'is too old',
      { when: 'version', stdout: 'v2.3.4\n' },
      'Docker Compose 2.3.4 is too old; docker dso needs 2.20 or newer',
    ],
  ])('is a Compose that %s', async (_, version, message) => {
    await docker.answer([
      version,
      { when: 'config', stderr: 'unknown flag: --format\n', code: 125 },
    ]);
    const { code, stderr } = await run('dso up');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `docker dso: ${message}; install it: https://docs.docker.com/compose/install\n`,
    });
  });

  test.each([
    [
      'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?',
      'the engine is not reachable: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?; start it, or choose another: docker context ls',
    ],
    [
      'permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock',
      "no right to the engine's socket; add yourself to the group docker and log in again, or use sudo",
    ],
    [
      'Error response from daemon: client version 1.47 is too new',
      'the engine refused: Error response from daemon: client version 1.47 is too new; run docker version to see whether it works',
    ],
  ])('is an engine: %s', async (stderr, message) => {
    await docker.answer([model({ app: withSecret }), { when: '^image', stderr, code: 1 }]);
    expect(await run('dso up')).toEqual({
      ...{ code: 1, stdout: '' },
      stderr: `docker dso: ${message}\n`,
    });
  });
});

describe('docker dso down', () => {
  test('lets the agent forget the application', async () => {
    await docker.answer([model({ app: withSecret }), images]);
    await run('dso up -d');
    expect((await run('dso down -v')).code).toBe(0);
    expect((await lines()).filter((line) => line === 'compose down -v')).toHaveLength(1);
    expect(agent.projects.size).toBe(0);
  });

  test('removes the volumes of its secrets, and no others', async () => {
    const volumes = 'dso_shop.app\ndsofiles_shop.app\ndso_shop2.app\nshop_data\n';
    await docker.answer([
      ...[model({ app: withSecret }), images],
      { when: '^volume ls --quiet --filter driver=dso$', stdout: volumes },
    ]);
    await run('dso down');
    expect((await lines()).slice(-1)).toEqual(['volume rm dso_shop.app dsofiles_shop.app']);
  });

  test.each(['down app', 'down --dry-run', 'down --help'])(
    'keeps it with the agent: %s',
    async (line) => {
      await docker.answer([model({ app: withSecret }), images]);
      await run('dso up -d');
      await run(`dso ${line}`);
      expect(agent.projects.size).toBe(1);
      expect((await lines()).filter((call) => call.startsWith('volume'))).toEqual([]);
    },
  );

  test('works without an agent', async () => {
    const env = { DSO_AGENT_SOCKET: '/no/agent.sock' };
    expect(await run('dso down', { env })).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await lines()).toEqual(['compose down']);
  });
});

describe('docker dso inspect', () => {
  const status: ServiceStatus = {
    ...{ project: 'shop', service: 'app', state: 'ACTIVE', mounts: 1 },
    secrets: [
      {
        ...{ name: 'DB_PASSWORD', kind: 'variable', source: 'dso://my-app/db#password' },
        ...{ store: 'aws', version: 'v7', deliveredAt: Date.UTC(2026, 0, 31, 12) },
      },
      {
        ...{ name: '/run/secrets/dso/tls.key', kind: 'file', source: 'dsofile://tls#key' },
        store: 'aws',
      },
    ],
  };
  const containers = (env: readonly string[]): readonly DockerAnswer[] => [
    model({ app: withSecret, web: {} }),
    { when: '^ps .*project=shop .*service=app', stdout: 'abc\n' },
    {
      when: '^container inspect .* abc$',
      stdout: `${JSON.stringify({ name: '/shop-app-1', env, isRunning: true })}\n`,
    },
  ];

  test('prints the status, and each secret without its value', async () => {
    agent.state.services = [status, { ...status, project: 'other', state: 'FAILED' }];
    await docker.answer(containers(['PATH=/run/dso/bin:/bin']));
    expect(await run('dso inspect app')).toEqual({
      ...{ code: 0, stderr: '' },
      stdout: `Secret injection status: ACTIVE
1 container of app in shop has the current values.

NAME                       SOURCE                     STORE   VERSION   DELIVERED
DB_PASSWORD                dso://my-app/db#password   aws     v7        2026-01-31 12:00:00Z
/run/secrets/dso/tls.key   dsofile://tls#key          aws     -         -
`,
    });
  });

  test('warns of a container that docker compose up has made', async () => {
    agent.state.services = [{ ...status, state: 'INACTIVE', mounts: 0 }];
    await docker.answer(containers(['A=b', 'DB_PASSWORD=dso://my-app/db#password']));
    const { stdout, stderr } = await run('dso inspect app');
    expect(stdout).toMatch(/^Secret injection status: INACTIVE\n/);
    expect(stderr).toBe(
      'docker dso: warning: shop-app-1 was started without docker dso: DB_PASSWORD has the reference itself as the value; start it again: docker dso up -d app\n',
    );
  });

  test('prints the cause of a failure', async () => {
    const failure = { code: 'ACCESS_DENIED', message: 'aws: denied', hint: 'allow it' };
    agent.state.services = [{ ...status, state: 'FAILED', failure }];
    await docker.answer(containers([]));
    expect((await run('dso inspect app')).stdout).toMatch(
      /^Secret injection status: FAILED\nThe last start or read failed.\nACCESS_DENIED: aws: denied; allow it\n/,
    );
  });

  test('prints JSON', async () => {
    agent.state.services = [status];
    await docker.answer(containers(['X=dso://y']));
    const { stdout, stderr } = await run('dso inspect app --format json');
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      ...{ version: 1, project: 'shop', service: 'app', mode: 'agent' },
      ...{ status: 'ACTIVE', containers: 1 },
      secrets: [
        { ...status.secrets[0], deliveredAt: '2026-01-31T12:00:00.000Z' },
        status.secrets[1],
      ],
      literalReferences: [{ container: 'shop-app-1', variables: ['X'] }],
    });
  });

  test('knows services without secrets, and names the nearest of an unknown one', async () => {
    await docker.answer([model({ app: withSecret, web: {} })]);
    const { code, stdout } = await run('dso inspect web');
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout:
        'Secret injection status: INACTIVE\nweb has no secrets, or docker dso up has not started it.\n',
    });
    expect((await run('dso inspect wbe')).stderr).toBe(
      'docker dso: there is no service wbe; did you mean web?\n',
    );
  });

  test('needs no files if -p names the project', async () => {
    agent.state.services = [status];
    await docker.answer([
      { when: 'config', stderr: 'no configuration file provided: not found\n', code: 14 },
      { when: 'version', stdout: '2.40.3' },
    ]);
    expect((await run('dso -p shop inspect app')).stdout).toMatch(/ACTIVE/);
    const { code, stderr } = await run('dso inspect app');
    expect({ code, stderr }).toEqual({
      ...{ code: 1, stderr: 'no configuration file provided: not found\n' },
    });
  });
});

describe('docker dso lint', () => {
  test('finds nothing in a right application, and asks neither agent nor engine', async () => {
    await agent.server.close();
    await write('dso.yaml', 'secrets: [{name: x, provider: vault, mappings: {a: B}}]\n');
    await docker.answer([model({ app: withSecret, db: {} })]);
    expect(await run('dso lint')).toEqual({
      ...{ code: 0, stderr: '' },
      stdout: '2 services, 1 with secrets: 0 errors, 0 warnings\n',
    });
    expect(await lines()).toEqual(['compose --profile * config --format json']);
  });

  test('prints all faults of both files with their lines', async () => {
    await write('compose.yaml', 'services:\n  app:\n    environment:\n      A: dso:///a\n');
    await write('dso.yaml', 'provider: huawai\nunknown: 1\n');
    await docker.answer([model({ app: { ...withSecret, environment: { A: 'dso:///a' } } })]);
    const { code, stdout } = await run('dso lint');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^dso.yaml:2:1: error: unknown key: unknown/m);
    expect(stdout).toMatch(
      /^compose.yaml:4:7: error: .*\[INVALID_REFERENCE\]\n {4}write dso:\/\/a$/m,
    );
    expect(stdout).toMatch(/^1 service, 0 with secrets: 2 errors, 0 warnings\n$/m);
  });

  test('prints JSON', async () => {
    await write('dso.yaml', 'provider: huawai\n');
    await docker.answer([model({ app: withSecret })]);
    const { code, stdout } = await run('dso lint -o=json');
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      version: 1,
      summary: { services: 1, withSecrets: 1, errors: 1, warnings: 0 },
      problems: [
        {
          ...{ file: 'dso.yaml', line: 1, column: 1, where: 'provider', severity: 'error' },
          code: 'INVALID_CONFIGURATION',
          message: 'there is no provider huawai',
          hint: 'did you mean huawei?',
        },
      ],
    });
  });

  test('reports what Compose says, beside the faults of dso.yaml', async () => {
    await write('dso.yaml', 'unknown: 1\n');
    await docker.answer([
      { when: 'config', stderr: 'a warning\nservices must be a mapping\n', code: 15 },
      { when: 'version', stdout: '2.40.3' },
    ]);
    const { code, stdout } = await run('dso lint');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^dso.yaml:1:1: error/);
    expect(stdout).toContain('error: docker compose config: services must be a mapping');
  });

  test.each(['dso lint --mode local', 'dso --mode local lint'])(
    'says what holds in local mode: %s',
    async (line) => {
      await write(
        'dso.yaml',
        'providers:\n  v: {type: vault, address: https://v, auth: {method: jwt, params: {role: r}}}\n',
      );
      await docker.answer([model({ app: {} })]);
      const { code, stdout } = await run(line, { env: { DSO_USER_CONFIG: '/home/a/my.yaml' } });
      expect(code).toBe(0);
      expect(stdout).toContain('warning: local mode does not use auth of v from a project');
      expect(stdout).toContain('local mode logs in as /home/a/my.yaml says');
    },
  );
});

describe('docker dso secret', () => {
  beforeEach(() => {
    agent.state.info = {
      ...agent.state.info,
      stores: [
        { name: 'main', type: 'aws' },
        { name: 'vault', type: 'vault' },
      ],
      defaultStore: 'vault',
    };
    agent.state.secrets = {
      main: [
        // Stores list them in orders of their own.
        { path: 'other\u001b[2J', usedBy: [] },
        {
          ...{ path: 'my-app/db', version: 'v1', changedAt: Date.UTC(2026, 0, 31) },
          usedBy: ['shop/app', 'shop/web'],
        },
      ],
      vault: [],
    };
    agent.state.refreshed = {
      'my-app/db': {
        ...{ store: 'main', version: 'v2' },
        services: [
          { name: 'shop/app', changed: true, rotates: false },
          { name: 'shop/api', changed: true, rotates: true },
          { name: 'shop/web', changed: false, rotates: false },
        ],
      },
    };
  });

  test('list prints the secrets of a store, named by its type or its name', async () => {
    const { code, stdout } = await run('dso secret list --provider aws');
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: `PATH             VERSION   CHANGED                USED BY
my-app/db        v1        2026-01-31 00:00:00Z   shop/app, shop/web
other\\u{1b}[2J   -         -                      -
`,
    });
    expect((await run('dso secret list --provider main')).stdout).toBe(stdout);
    expect((await run('dso secret list')).stdout).toBe(
      'vault has no secrets that this host can list.\n',
    );
  });

  test('list prints JSON, and names the stores that there are', async () => {
    const { stdout } = await run('dso secret list --provider aws --format json');
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ version: 1, provider: 'main' },
      secrets: [{ path: 'my-app/db', changedAt: '2026-01-31T00:00:00.000Z' }, {}],
    });
    expect((await run('dso secret list --provider huawei')).stderr).toBe(
      'docker dso: the host has no store huawei; it has main, vault\n',
    );
  });

  test('refresh reads a secret again, and says who needs a restart', async () => {
    const { code, stdout } = await run('dso secret refresh my-app/db --provider aws');
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: `Refreshed my-app/db of main, version v2
  shop/app: the value has changed; to use it: docker dso restart app
  shop/api: the value has changed; the agent brings it to the containers
  shop/web: its containers have this value
`,
    });
    expect(JSON.parse(agent.server.requests.at(-1)!.body.toString())).toEqual({
      ...{ store: 'main', path: 'my-app/db' },
    });
  });

  test('refresh says so where no service uses the secret', async () => {
    agent.state.refreshed['my-app/other'] = { store: 'main', services: [] };
    const { code, stdout } = await run('dso secret refresh my-app/other --provider aws');
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: 'No running service uses my-app/other of main: nothing was read.\n',
    });
  });

  test.each([
    ['dso://main/my-app/db#password', { store: 'main', path: 'my-app/db' }],
    ['dsofile://my-app/db', { store: 'vault', path: 'my-app/db' }],
    ['main/my-app/db', { store: 'vault', path: 'main/my-app/db' }],
  ])('refresh takes a reference: %s', async (text, request) => {
    await run(`dso secret refresh ${text}`);
    expect(JSON.parse(agent.server.requests.at(-1)!.body.toString())).toEqual(request);
  });

  test('refresh prints what the agent says of a secret that is not there', async () => {
    const { code, stderr } = await run('dso secret refresh nothing');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'docker dso: aws: there is no secret nothing; check the path\n',
    });
  });
});

describe('docker dso system info', () => {
  test('prints the lines of the guide for AWS Secrets Manager', async () => {
    const { stdout } = await run('dso system info');
    expect(stdout).toMatch(/^Mode: Cloud\nProvider: AWS Secrets Manager\nRegion: us-east-1\n/);
    expect(stdout).toContain('Grants: none; every application reads whatever this host may read\n');
  });

  test('prints the lines of the guide for HashiCorp Vault', async () => {
    const address = 'https://vault.example.com:8200';
    agent.state.info = {
      ...agent.state.info,
      stores: [{ name: 'vault', type: 'vault', address, authMethod: 'approle' }],
    };
    expect((await run('dso system info')).stdout).toMatch(
      /^Mode: Cloud\nProvider: HashiCorp Vault\nVault Address: https:\/\/vault.example.com:8200\nAuth Method: AppRole\n/,
    );
  });

  test('prints several stores, and JSON', async () => {
    agent.state.info = {
      ...agent.state.info,
      stores: [
        { name: 'a', type: 'local' },
        { name: 'b', type: 'huawei', region: 'ap-southeast-3', authMethod: 'agency' },
      ],
      defaultStore: 'b',
    };
    expect((await run('dso system info')).stdout).toMatch(
      /^Mode: Cloud\nProvider: Local Store\nName: a\n\nProvider: Huawei Cloud CSMS\nRegion: ap-southeast-3\nAuth Method: Agency\nName: b \(default\)\n\n/,
    );
    const { stdout } = await run('dso system info --format json');
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ version: 1, mode: 'cloud', agent: { defaultStore: 'b' } },
    });
  });

  test('says how to start the agent', async () => {
    const { code, stderr } = await run('dso system info', { env: { DSO_AGENT_SOCKET: '/no/x' } });
    expect(code).toBe(1);
    expect(stderr).toContain('docker dso system setup');
  });
});
