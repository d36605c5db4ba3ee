import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type PluginHost, model, startPluginHost, withSecret } from './docker/plugin.ts';
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
