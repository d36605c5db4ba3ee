import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { eventually } from '../docker/agent.ts';
import { secretValue } from '../docker/secret-value.ts';
import { describeIfAvailable } from '../if-available.ts';
import { buildCompose, missingDockerDependencies, type Engine } from '../servers/docker/engine.ts';
import { findPlanted } from '../servers/docker/find-planted.ts';
import { testImages } from '../servers/docker/images.ts';
import { startDockerEnvironment, type DockerEnvironment } from './docker-environment.ts';

const missingDependencies = await missingDockerDependencies();
const longMs = 60_000;
const swarmInit = ['swarm', 'init', '--advertise-addr', '127.0.0.1', '--listen-addr'];

/** The bytes of all files, compressed: the files of a log have zeros where nothing is written. */
function bytesBelow(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => gzipSync(readFileSync(join(parentPath, name)), { level: 1 }))
    .reduce((sum, { length }) => sum + length, 0);
}

describeIfAvailable(import.meta.filename, missingDependencies)('docker dso in a swarm', () => {
  let environment: DockerEnvironment;
  let engine: Engine;
  let swarmState: string;
  const values: string[] = [];

  beforeAll(async () => {
    await buildCompose();
    environment = await startDockerEnvironment();
    ({ engine } = environment);
    await engine.output([...swarmInit, '127.0.0.1:2377']);
    swarmState = join(engine.roots[0] ?? '', 'swarm');
  }, 900_000);
  afterEach(async () => {
    await engine.docker(['stack', 'rm', 'shop']);
    for (const kind of ['service', 'secret']) {
      const ids = (await engine.output([kind, 'ls', '--quiet'])).split('\n').filter(Boolean);
      if (ids.length > 0) await engine.output([kind, 'rm', ...ids]);
    }
    await eventually(async () => expect(await engine.output(['ps', '--quiet'])).toBe(''), longMs);
  }, 120_000);
  afterAll(() => environment.stop(), 120_000);

  /** Writes a new value into the store. */
  async function plant(path: string, textOf = (value: string): string => value): Promise<string> {
    const value = secretValue();
    values.push(value);
    await environment.put(path, textOf(value));
    return value;
  }
  async function createSecret(name: string, reference?: string): Promise<void> {
    const labels = reference === undefined ? [] : ['--label', `dso.ref=${reference}`];
    await engine.output(['secret', 'create', '--driver', 'dso', ...labels, name]);
  }
  async function createService(name: string, secret: string): Promise<void> {
    await engine.output([
      ...['service', 'create', '--detach', '--no-resolve-image', '--name', name],
      ...['--stop-grace-period', '1s', '--restart-delay', '500ms'],
      ...['--secret', secret, testImages.busybox, 'stay'],
    ]);
  }
  /** What the running task of a service has in the file of a secret. */
  async function valueIn(service: string, secret: string): Promise<string> {
    const filter = `label=com.docker.swarm.service.name=${service}`;
    const ids = await engine.output(['ps', '--quiet', '--filter', filter]);
    const [container = ''] = ids.split('\n');
    expect(container).not.toBe('');
    return engine.output(['exec', container, 'cat', `/run/secrets/${secret}`]);
  }
  const has = (service: string, secret: string, value: string): Promise<void> =>
    eventually(async () => expect(await valueIn(service, secret)).toBe(value), longMs);
  const tasksOf = (service: string): Promise<string> =>
    engine.output(['service', 'ps', '--no-trunc', '--format', '{{.Error}}', service]);
  /** The line of `docker dso system doctor`. */
  async function doctorSays(line: string): Promise<void> {
    const { stdout } = await engine.docker(['dso', 'system', 'doctor'], {
      env: { DSO_AGENT_SOCKET: environment.path('agent.sock') },
    });
    expect(stdout.split('\n')).toContainEqual(expect.stringContaining(line));
  }
  /** The cause is with the agent: the engine knows only that the secret is not there. */
  async function failsWith(service: string, line: string): Promise<void> {
    await eventually(async () => {
      expect(await tasksOf(service)).toContain('unable to get secret from secret store: secret ');
      await doctorSays(line);
    }, longMs);
  }

  test('a service has the value of a field in /run/secrets, on a tmpfs', async () => {
    const value = await plant('my-app/db', (password) => JSON.stringify({ password }));
    await createSecret('db_password', 'dso://my-app/db#password');
    await createService('web', 'db_password');
    await has('web', 'db_password', value);
    const [container = ''] = (await engine.output(['ps', '--quiet'])).split('\n');
    expect(await engine.output(['exec', container, 'cat', '/proc/mounts'])).toMatch(
      /^tmpfs \/run\/secrets\/db_password tmpfs ro/m,
    );
  });

  test('a service of a stack has the value of the secret in its file', async () => {
    const value = await plant('token');
    const file = environment.path('stack.yaml');
    await environment.writeFile(
      'stack.yaml',
      `version: "3.8"
services:
  web:
    image: ${testImages.busybox}
    command: stay
    stop_grace_period: 1s
    networks: [bridge]
    secrets: [token]
networks:
  bridge: {external: true, name: bridge}
secrets:
  token: {driver: dso, labels: {dso.ref: "dso://token"}}
`,
    );
    await engine.output(['stack', 'deploy', '--resolve-image', 'never', '-c', file, 'shop']);
    await has('shop_web', 'token', value);
    expect(environment.agentLog()).toMatch(
      /"project":"shop","service":"web","secret":"shop_token",.*"delivered to a swarm"/,
    );
  });

  test('a new task has the new value, and the running one keeps the old', async () => {
    const before = await plant('token');
    await createSecret('token');
    await createService('web', 'token');
    await has('web', 'token', before);
    const after = await plant('token');
    expect(await valueIn('web', 'token')).toBe(before);
    await engine.output(['service', 'update', '--force', '--detach', 'web']);
    await has('web', 'token', after);
  });

  test('a secret that is not in the store: the task fails, doctor says why, and it starts later', async () => {
    await createSecret('absent');
    await createService('web', 'absent');
    await failsWith('web', 'secret absent of web/web ... the local store has no secret absent');
    const value = await plant('absent');
    await has('web', 'absent', value);
    await expect(doctorSays('secret absent of web/web')).rejects.toThrow();
  });

  test('a secret that no grant allows: the task fails, and doctor says why', async () => {
    const config = await environment.readConfig();
    await plant('token');
    await environment.configure(
      `${config}agent: {grants: [{projects: [web], paths: ["my-app/*"]}]}\n`,
    );
    await createSecret('token');
    await createService('web', 'token');
    await failsWith(
      'web',
      'secret token of web/web ... service web/web may not read token of store local: no grant of this host allows it; add a grant',
    );
    await environment.configure(config);
    await has('web', 'token', values.at(-1) ?? '');
  });

  test('an engine that starts again has the values for its tasks', async () => {
    const value = await plant('token');
    await createSecret('token');
    await createService('web', 'token');
    await has('web', 'token', value);
    await engine.stopEngine();
    await engine.startEngine();
    await has('web', 'token', value);
  }, 180_000);

  test('the state of the swarm does not have the value', async () => {
    // The state is encrypted on disk. A value of this size would still show.
    const bytes = 400_000;
    await environment.put('large', randomBytes(bytes / 2).toString('hex'));
    await createSecret('large');
    const before = bytesBelow(swarmState);
    await createService('web', 'large');
    await eventually(async () => expect(await valueIn('web', 'large')).toHaveLength(bytes), longMs);
    await engine.output(['service', 'update', '--force', '--detach', '--label-add', 'a=b', 'web']);
    await eventually(async () => expect(await tasksOf('web')).toMatch(/\n.*\n/), longMs);
    await eventually(async () => expect(await valueIn('web', 'large')).toHaveLength(bytes), longMs);
    const after = bytesBelow(swarmState);
    expect(after - before).toBeLessThan(bytes / 2);
    // As that of a secret without the driver does.
    const input = randomBytes(bytes / 2).toString('hex');
    await engine.output(['secret', 'create', 'plain', '-'], { input });
    expect(bytesBelow(swarmState) - after).toBeGreaterThan(bytes / 2);
  });

  test('no file of the machine and nothing that the engine shows has had a value', async () => {
    await plant('token');
    await createSecret('token');
    await createService('web', 'token');
    await has('web', 'token', values.at(-1) ?? '');
    const [container = ''] = (await engine.output(['ps', '--quiet'])).split('\n');
    const shown = [
      await engine.output(['secret', 'inspect', 'token']),
      await engine.output(['service', 'inspect', 'web']),
      await engine.output(['inspect', container]),
      await engine.output(['diff', container]),
      environment.agentLog(),
      engine.log(),
    ].join('\n');
    for (const value of values) expect(shown).not.toContain(value);
    const search = { newerThan: environment.path('store.key'), directories: engine.roots };
    expect(await findPlanted(values, search)).toEqual([]);
  });
});
