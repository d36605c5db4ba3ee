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
