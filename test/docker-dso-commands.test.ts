import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { type Socket, createServer } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { JsonServer } from '../src/docker/agent/json-server.ts';
import { RecentLog } from '../src/docker/agent/recent-log.ts';
import {
  type PluginHost,
  type Services,
  model,
  startPluginHost,
  withSecret,
} from './docker/plugin.ts';
import { builtPlugin } from './driver/bundle.ts';
import type { ServiceStatus } from '../src/docker/agent-api.ts';
import type { DockerAnswer } from './fakes/docker-cli.ts';

let host: PluginHost;
beforeAll(() => builtPlugin(), 120_000);
beforeEach(async () => {
  host = await startPluginHost();
});
afterEach(() => host.stop());

describe('docker dso exec', () => {
  const application = model({ app: withSecret });
  const container = (facts: object): DockerAnswer => ({
    when: '^container inspect',
    stdout: `${JSON.stringify({ name: '/shop-app-1', isRunning: true, ...facts })}\n`,
  });
  const injected = { env: ['PATH=/run/dso/bin:/bin'], volumes: ['/run/dso'] };
  const listed = { when: '^ps ', stdout: 'abc\n' };
  const lastLine = async (): Promise<string> => (await host.lines()).at(-1) ?? '';

  test.each([
    ['exec app psql -U app', 'exec app SHIM psql -U app'],
    ['exec -T -u nobody -w /tmp -e A=b app id', 'exec -T -u nobody -w /tmp -e A=b app SHIM id'],
    [
      'exec --no-TTY --index 2 --privileged -d app x',
      'exec --no-TTY --index 2 --privileged -d app SHIM x',
    ],
    ['exec -it app sh -c env', 'exec -it app SHIM sh -c env'],
    ['exec -- app /bin/env', 'exec -- app SHIM /bin/env'],
  ])('starts the program with the secrets: %s', async (line, passed) => {
    await host.docker.answer([application, listed, container(injected)]);
    expect(await host.run(`dso -f a.yaml ${line}`)).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await lastLine()).toBe(
      `compose -f a.yaml ${passed.replace('SHIM', '/run/dso/bin/dso-shim --')}`,
    );
  });

  test('has the input, output and exit code of the program', async () => {
    const program = { when: ' exec ', readsStdin: true, stdout: 'out', stderr: 'err', code: 7 };
    await host.docker.answer([application, listed, container(injected), program]);
    const result = await host.run('dso exec -T app cat', { input: 'typed' });
    expect(result).toEqual({ code: 7, stdout: 'out', stderr: 'err' });
    expect((await host.docker.calls()).at(-1)?.stdin).toBe('typed');
  });

  test('looks at the container that --index names', async () => {
    await host.docker.answer([application, listed, container(injected)]);
    await host.run('dso exec --index=2 app id');
    expect((await host.lines())[1]).toContain('label=com.docker.compose.container-number=2');
  });

  test.each([
    ['without secrets', [listed, container({ env: ['PATH=/bin'], volumes: [] })]],
    ['with exec: off', [listed, container({ ...injected, env: ['PATH=/bin'] })]],
    ['that does not run', []],
  ])('passes through for a container %s', async (_, answers) => {
    await host.docker.answer([application, ...answers]);
    expect((await host.run('dso exec -T app env')).code).toBe(0);
    expect(await lastLine()).toBe('compose exec -T app env');
  });

  test.each(['exec --help', 'exec app', '-f - exec app env'])(
    'is the command of Compose alone: %s',
    async (line) => {
      await host.run(`dso ${line}`);
      expect(await host.lines()).toEqual([`compose ${line}`]);
    },
  );

  test('leaves it to Compose to say that there is no application', async () => {
    const failure = { stderr: 'no configuration file provided: not found\n', code: 14 };
    await host.docker.answer([
      { when: 'config|exec', ...failure },
      { when: 'version --short', stdout: '2.40.3\n' },
    ]);
    expect(await host.run('dso exec app env')).toEqual({ stdout: '', ...failure });
  });

  test('needs no Compose file with -p', async () => {
    await host.docker.answer([listed, container(injected)]);
    await host.run('dso -p shop exec app id');
    expect(await lastLine()).toBe('compose -p shop exec app /run/dso/bin/dso-shim -- id');
  });
});

describe('docker dso ps', () => {
  const status: ServiceStatus = {
    ...{ project: 'shop', service: 'app', state: 'ACTIVE', mounts: 1, secrets: [] },
    rotation: { strategy: 'restart', state: 'idle' },
  };
  const failure = { code: 'DENIED', message: 'aws: no right to my-app/db', hint: 'grant it' };
  const failed: ServiceStatus = { ...status, state: 'FAILED', failure };
  const application = model({ app: withSecret });
  const list = { when: ' ps', stdout: 'shop-app-1\n' };

  test('is the command of Compose while nothing has failed', async () => {
    host.agent.state.services = [status];
    await host.docker.answer([list]);
    const result = { code: 0, stdout: 'shop-app-1\n', stderr: '' };
    expect(await host.run('dso -f a.yaml ps -a --format json app')).toEqual(result);
    expect(await host.lines()).toEqual(['compose -f a.yaml ps -a --format json app']);
  });

  test('says what has failed of this application, and has exit code 1', async () => {
    host.agent.state.services = [
      ...[failed, { ...failed, project: 'other' }, { ...status, service: 'fine' }],
      {
        ...{ ...status, service: 'web' },
        rotation: { strategy: 'rolling', state: 'failed', failure: { code: 'X', message: 'late' } },
      },
    ];
    await host.docker.answer([application, list]);
    expect(await host.run('dso ps')).toEqual({
      ...{ code: 1, stdout: 'shop-app-1\n' },
      stderr: `docker dso: app: the last start or read failed: aws: no right to my-app/db; grant it
docker dso: web: the last rotation failed, and the agent tries again: late
`,
    });
  });

  test('keeps the exit code of Compose', async () => {
    host.agent.state.services = [failed];
    await host.docker.answer([application, { ...list, code: 14 }]);
    expect((await host.run('dso ps')).code).toBe(14);
  });

  test.each(['ps --help', '-f - ps'])('adds nothing to %s', async (line) => {
    host.agent.state.services = [failed];
    expect(await host.run(`dso ${line}`)).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await host.lines()).toEqual([`compose ${line}`]);
  });

  test('adds nothing if the agent does not answer', async () => {
    await host.docker.answer([list]);
    const env = { DSO_AGENT_SOCKET: '/no/agent.sock' };
    expect(await host.run('dso ps', { env })).toEqual({
      ...{ code: 0, stdout: 'shop-app-1\n', stderr: '' },
    });
  });
});

describe('docker dso logs', () => {
  const time = '2026-01-31T12:00:00.123Z';
  const renewal = { time, level: 'info', msg: 'token renewal succeeded', store: 'vault' };

  test('is the command of Compose without --agent', async () => {
    await host.run('dso logs -f --tail 5 app');
    expect(await host.lines()).toEqual(['compose logs -f --tail 5 app']);
    expect(host.agent.server.requests).toEqual([]);
  });

  test('shows the log of the agent with --agent', async () => {
    host.agent.state.log = [renewal, { missed: 3 }, { ...renewal, msg: 'a\u001b[31mb' }];
    expect(await host.run('dso logs --agent')).toEqual({
      code: 0,
      stdout: `${time} INFO  token renewal succeeded store=vault
${time} INFO  a\\u{1b}[31mb store=vault
`,
      stderr:
        "docker dso: 3 lines of the agent's log are missing here: it has more than this command takes\n",
    });
    expect(await host.lines()).toEqual([]);
  });

  test('shows it as JSON, one object a line', async () => {
    host.agent.state.log = [renewal, renewal];
    const { stdout } = await host.run('dso logs --agent -o json');
    expect(stdout).toBe(`${JSON.stringify(renewal)}\n`.repeat(2));
  });

  test.each([
    ['--agent', ''],
    ['--agent -f --tail 10', 'follow=true&tail=10'],
    ['--tail all --agent --since 2026-01-31T12:00:00Z', 'since=1769860800000'],
    ['--agent --since 1769860800', 'since=1769860800000'],
  ])('asks the agent for what its flags say: %s', async (flags, query) => {
    expect((await host.run(`dso logs ${flags}`)).code).toBe(0);
    expect(host.agent.server.requests[0]?.query).toBe(query);
  });

  test('takes a time of --since that is some time ago', async () => {
    const before = Date.now();
    await host.run('dso logs --agent --since 1h30m');
    const since = Number(/since=(\d+)/.exec(host.agent.server.requests[0]?.query ?? '')?.[1]);
    expect(since).toBeGreaterThanOrEqual(before - 5_400_000);
    expect(since).toBeLessThanOrEqual(Date.now() - 5_400_000);
  });

  test.each([
    ['--tail many', 'Write a number, or all.'],
    ['--since yesterday', 'Write a time as 2026-01-31T12:00:00Z, or how long ago: 10m.'],
    ['app', 'too many arguments'],
  ])('refuses %s', async (words, message) => {
    const { code, stderr } = await host.run(`dso logs --agent ${words}`);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });

  test('says that an agent of another version has no log', async () => {
    host.agent.server.injectFault({
      response: {
        status: 400,
        body: { code: 'INVALID_REQUEST', message: 'the agent has no such request', hint: 'update' },
      },
    });
    expect(await host.run('dso logs --agent')).toEqual({
      ...{ code: 1, stdout: '', stderr: 'docker dso: the agent has no such request; update\n' },
    });
  });

  test('says in local mode that there is no agent', async () => {
    const { code, stderr } = await host.run('dso --mode local logs --agent');
    expect(code).toBe(1);
    expect(stderr).toMatch(/^docker dso: local mode has no agent, so there is no log of one; /);
  });
});

describe('docker dso logs --agent --follow', () => {
  const line = `${JSON.stringify({ time: '2026-01-31T12:00:00Z', level: 'info', msg: 'delivered' })}\n`;
  let recent: RecentLog;
  let server: JsonServer;
  let env: Record<string, string>;
  beforeEach(async () => {
    const path = join(host.folder, 'follow.sock');
    env = { DSO_AGENT_SOCKET: path };
    recent = new RecentLog({ maxBytes: 2 ** 20, now: Date.now });
    server = new JsonServer({
      ...{ path, flag: '--socket', mode: 0o600, maxBodyBytes: 0 },
      ...{ contentType: 'application/json', log: pino({ level: 'silent' }) },
      handle: async ({ signal }) => ({ status: 200, lines: recent.read({ follow: true }, signal) }),
      onError: () => ({ status: 500, json: {} }),
    });
    await server.start();
    recent.write(line);
  });
  afterEach(() => {
    server.unbind();
    server.close();
  });

  test('shows lines as they come, and says that the agent has stopped', async () => {
    let seen = 0;
    const { code, stdout, stderr } = await host.run('dso logs --agent -f', {
      env,
      onOutput: () => {
        seen += 1;
        if (seen === 1) recent.write(line);
        else server.close();
      },
    });
    expect(stdout).toBe('2026-01-31T12:00:00Z INFO  delivered\n'.repeat(2));
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'docker dso: the agent has stopped; run the command again when the agent runs\n',
    });
  });

  test('ends when the docker that started it ends', async () => {
    const name = join(host.folder, 'docker-cli.sock');
    const connections: Socket[] = [];
    const cli = createServer((connection) => void connections.push(connection)).listen(name);
    await once(cli, 'listening');
    const result = await host.run('dso logs --agent -f', {
      env: { ...env, DOCKER_CLI_PLUGIN_SOCKET: name },
      onOutput: () => connections.forEach((connection) => connection.destroy()),
    });
    cli.close();
    expect(result).toMatchObject({ code: 0, stderr: '' });
  });

  test('ends when the reader of its output has left', async () => {
    let count = 0;
    const result = await host.run('dso logs --agent -f', {
      env,
      onOutput: (_, closeOutput) => {
        if (count++ > 0) return;
        closeOutput();
        recent.write(line);
      },
    });
    expect(result).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('docker dso secret watch', () => {
  const record = { time: '2026-01-31T12:00:00.123Z', level: 'info', project: 'shop' };
  const secrets = [
    { target: 'DB_PASSWORD', source: 'dso://db', store: 'aws', version: 'v7' },
    { target: 'TOKEN', source: 'dso://token', store: 'aws' },
  ];
  const delivered = { ...record, service: 'app', msg: 'delivered', containers: 1, ms: 12, secrets };
  const failed = {
    ...{ ...record, service: 'web', level: 'warn', msg: 'rotation failed' },
    ...{ code: 'DEADLINE', reason: 'not healthy within 60 s' },
  };

  test('shows what happens to the secrets of the application, from now on', async () => {
    await host.docker.answer([model({ app: withSecret })]);
    const other = { ...record, msg: 'registered', services: 1 };
    host.agent.state.log = [delivered, other, { ...delivered, level: 'debug' }, failed];
    expect(await host.run('dso secret watch')).toEqual({
      ...{ code: 0, stderr: '' },
      stdout: `2026-01-31 12:00:00Z  app  delivered; containers: 1; DB_PASSWORD v7, TOKEN -
2026-01-31 12:00:00Z  web  rotation failed; not healthy within 60 s
`,
    });
    expect(host.agent.server.requests[0]?.query).toBe('follow=true&tail=0&project=shop');
  });

  test('shows them as JSON, one object a line', async () => {
    host.agent.state.log = [delivered];
    const { stdout } = await host.run('dso secret watch --project shop --since 0 -o json app web');
    const { msg, ...fields } = delivered;
    expect(stdout.split('\n')).toHaveLength(2);
    expect(JSON.parse(stdout)).toEqual({ version: 1, event: msg, ...fields });
    expect(host.agent.server.requests[0]?.query).toBe(
      'service=app&service=web&follow=true&since=0&project=shop',
    );
  });

  test('names the flag where there is no application', async () => {
    const { code, stderr } = await host.run('dso secret watch');
    expect(code).toBe(1);
    expect(stderr).toMatch(/there is no Compose application here; name it: .* --project NAME/);
  });

  test('leaves docker dso watch to Compose', async () => {
    await host.docker.answer([model({ db: { image: 'x' } })]);
    await host.run('dso watch --quiet');
    expect((await host.lines()).at(-1)).toBe('compose watch --quiet');
  });
});

describe('docker dso diff', () => {
  const web = { ...withSecret, environment: { TOKEN: 'dso://token', CERT: 'dsofile://tls' } };
  const db = { image: 'postgres' };
  const images = {
    when: 'image inspect',
    stdout: `${JSON.stringify({ config: { Cmd: ['x'] }, os: 'linux' })}\n`.repeat(2),
  };

  /** The digests that `docker dso up` gives to the containers. */
  async function digests(services: Services): Promise<Readonly<Record<string, string>>> {
    await host.docker.answer([
      model(services),
      { ...images, stdout: images.stdout.slice(images.stdout.length / 2) },
    ]);
    await host.run('dso up -d');
    const { services: given } = (await host.docker.calls()).at(-1)!.model as {
      services: Record<string, { labels?: Record<string, string> }>;
    };
    return Object.fromEntries(
      Object.entries(given).map(([name, { labels }]) => [name, labels?.['dso.references'] ?? '']),
    );
  }
  /** The containers of the services, as they were made. */
  function containers(found: Readonly<Record<string, object>>): readonly DockerAnswer[] {
    const lines = Object.entries(found).map(([service, facts]) =>
      JSON.stringify({ name: `/shop-${service}-1`, service, isRunning: true, ...facts }),
    );
    return [
      { when: '^ps --all .*project=shop .*oneoff=False', stdout: 'abc\n' },
      { when: '^container inspect', stdout: `${lines.join('\n')}\n` },
    ];
  }
  const status = (service: string, ...secrets: ServiceStatus['secrets']): ServiceStatus => ({
    ...{ project: 'shop', service, state: 'ACTIVE', mounts: 1, secrets },
  });
  const variable = (name: string, source: string): ServiceStatus['secrets'][number] => ({
    ...{ name, kind: 'variable', source, store: 'aws', version: 'v1' },
  });

  test('finds no difference after up', async () => {
    const { app = '' } = await digests({ app: withSecret, db });
    await host.docker.answer([
      model({ app: withSecret, db }),
      ...containers({ app: { references: app }, db: {} }),
    ]);
    expect(await host.run('dso diff')).toEqual({
      ...{ code: 0, stderr: '' },
      stdout: 'No differences: the containers have the secrets of the Compose files.\n',
    });
  });

  test('shows the secrets of a container that is made, with exit code 1', async () => {
    await host.docker.answer([model({ web, db }), ...containers({ db: {} })]);
    expect(await host.run('dso diff')).toEqual({
      ...{ code: 1, stderr: '' },
      stdout: `web: a container is made
  + /run/secrets/dso/aws/tls   dsofile://aws/tls
  + TOKEN                      dso://aws/token
`,
    });
    expect(host.agent.projects.size).toBe(0);
  });

  test('shows what is new, removed, and another secret', async () => {
    host.agent.state.services = [
      status('web', variable('TOKEN', 'dso://aws/old-token'), variable('KEY', 'dso://aws/key')),
    ];
    await host.docker.answer([model({ web }), ...containers({ web: { references: 'old' } })]);
    const { code, stdout } = await host.run('dso diff web');
    expect(code).toBe(1);
    expect(stdout).toBe(`web: its containers are made again
  + /run/secrets/dso/aws/tls   dsofile://aws/tls
  - KEY                        dso://aws/key
  ~ TOKEN                      dso://aws/old-token -> dso://aws/token
`);
  });

  test('takes all secrets for new in a container that docker compose up has made', async () => {
    host.agent.state.services = [
      status('app', variable('DB_PASSWORD', 'dso://aws/my-app/db#password')),
    ];
    await host.docker.answer([model({ app: withSecret }), ...containers({ app: {} })]);
    expect((await host.run('dso diff')).stdout).toBe(`app: its containers are made again
  + DB_PASSWORD   dso://aws/my-app/db#password
`);
  });

  test('shows a service that has lost all its secrets', async () => {
    host.agent.state.services = [status('app', variable('KEY', 'dso://aws/key'))];
    await host.docker.answer([model({ app: db }), ...containers({ app: { references: 'old' } })]);
    expect((await host.run('dso diff')).stdout).toBe(`app: its containers are made again
  - KEY   dso://aws/key
`);
  });

  test('shows containers that do not run, or that have an old value', async () => {
    const { app = '', web: digest = '' } = await digests({ app: withSecret, web });
    host.agent.state.services = [
      { ...status('app'), state: 'STALE', staleSince: Date.UTC(2026, 0, 31, 12) },
    ];
    await host.docker.answer([
      model({ app: withSecret, web }),
      ...containers({ app: { references: app }, web: { references: digest, isRunning: false } }),
    ]);
    const { code, stdout } = await host.run('dso diff');
    expect(code).toBe(1);
    expect(stdout).toBe(
      `app: a value has changed since 2026-01-31 12:00:00Z, and its containers have the old one; to use the new one: docker dso restart app
web: its containers start, and get the current values
`,
    );
    host.agent.state.services = [
      {
        ...{ ...status('app'), state: 'STALE' },
        rotation: { strategy: 'restart', state: 'running' },
      },
    ];
    expect((await host.run('dso diff app')).stdout).toBe(
      'app: a value has changed, and its containers have the old one; the agent brings the new one to them\n',
    );
  });

  test('prints JSON', async () => {
    await host.docker.answer([model({ app: withSecret }), ...containers({ app: {} })]);
    expect(JSON.parse((await host.run('dso diff -o json')).stdout)).toEqual({
      ...{ version: 1, project: 'shop' },
      services: [
        {
          ...{ service: 'app', action: 'recreate', isStale: false, rotates: false },
          secrets: [
            {
              ...{ name: 'DB_PASSWORD', kind: 'variable', change: 'new' },
              source: 'dso://aws/my-app/db#password',
            },
          ],
        },
      ],
    });
  });

  test('needs no agent for an application without secrets', async () => {
    await host.docker.answer([model({ db }), ...containers({ db: {} })]);
    const env = { DSO_AGENT_SOCKET: '/no/agent.sock' };
    expect((await host.run('dso diff', { env })).code).toBe(0);
  });

  test.each([
    ['no agent', [model({ app: withSecret })], 'the agent of docker dso does not run'],
    ['a service that is not there', [model({ apps: db })], 'did you mean apps?'],
    ['a fault', [model({ app: { environment: { A: 'dso:///a' } } })], 'error: a reference begins'],
    [
      'a fault that Compose finds',
      [
        { when: 'config', stderr: 'services must be a mapping\n', code: 15 },
        { when: 'version --short', stdout: '2.40.3\n' },
      ],
      'services must be a mapping\n',
    ],
  ])('has exit code 2 for %s', async (what, answers, message) => {
    await host.docker.answer(answers);
    const env = what === 'no agent' ? { DSO_AGENT_SOCKET: '/no/agent.sock' } : undefined;
    const result = await host.run('dso diff app', { ...(env && { env }) });
    expect(result).toMatchObject({ code: 2, stdout: '' });
    expect(result.stderr).toContain(message);
  });

  test('is the first part of docker dso plan, which shows then what Compose would do', async () => {
    await host.docker.answer([
      { ...model({ app: withSecret }), readsStdin: true },
      { when: 'image inspect', stdout: images.stdout.slice(images.stdout.length / 2) },
      ...containers({ app: {} }),
      { when: ' up ', stderr: 'DRY-RUN MODE\n', code: 3 },
    ]);
    expect(await host.run('dso -f - plan app', { input: 'services: ...' })).toEqual({
      ...{ code: 3, stderr: 'DRY-RUN MODE\n' },
      stdout: `app: its containers are made again
  + DB_PASSWORD   dso://aws/my-app/db#password

`,
    });
    expect((await host.lines()).at(-1)).toMatch(/ --file \/dev\/fd\/3 up --dry-run --detach app$/);
    expect(host.agent.projects.size).toBe(0);
  });
});
