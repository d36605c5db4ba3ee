import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { builtBundle } from './bundle.ts';
import { createDriver } from './driver.ts';
import { startKeyferry, type KeyferryProcess } from './keyferry-process.ts';

const spc = {
  metadata: { name: 'web' },
  spec: { provider: 'local', parameters: { objects: '- objectName: greeting' } },
};
const canary = 'canary-4711';

let dir: string;
let settings: string[];
let keyferry: KeyferryProcess | undefined;

async function local(input: string, ...args: string[]): Promise<void> {
  const files = ['--store', join(dir, 'store'), '--key', join(dir, 'key')];
  const running = promisify(execFile)(process.execPath, [
    await builtBundle(),
    'local',
    ...files,
    ...args,
  ]);
  running.child.stdin?.end(input);
  await running;
}

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-process-'));
  await local('', 'init');
  await local(canary, 'set', 'greeting');
  const grant = {
    provider: 'local',
    namespaces: ['shop'],
    serviceAccounts: ['*'],
    names: ['local/*'],
  };
  await writeFile(join(dir, 'grants'), JSON.stringify({ grants: [grant] }));
  const files = ['--local-store', join(dir, 'store'), '--local-key', join(dir, 'key')];
  settings = [...files, '--shared-identity-grants', join(dir, 'grants'), '--refresh-interval', '0'];
}, 60_000);
afterAll(async () => {
  await keyferry?.stop('SIGKILL');
  await rm(dir, { recursive: true });
});

describe('the built bundle in a process of its own', () => {
  test('serves drivers of both generations, and prints no secret', async () => {
    keyferry = await startKeyferry({ providers: ['local'], args: settings });
    for (const generation of ['1.5', '1.6'] as const) {
      const driver = createDriver({
        generation,
        providersDir: keyferry.providersDir,
        dir: join(dir, generation),
      });
      const view = await driver.publish({
        class: spc,
        pod: { namespace: 'shop', name: `pod-${generation}` },
      });
      expect(view).toMatchObject({
        phase: 'Running',
        last: 'mounted',
        files: { greeting: { text: canary, mode: 0o644 } },
      });
      expect(view.status?.objects).toEqual([{ id: 'greeting', version: 'v1' }]);
      expect(await driver.republish(view)).toMatchObject({ last: 'mounted', status: view.status });
      const stranger = await driver.publish({ class: spc, pod: { namespace: 'other' } });
      expect(stranger).toMatchObject({ phase: 'Pending', last: { code: 'PERMISSION_DENIED' } });
      driver.close();
    }
    await keyferry.waitForLog((line) => JSON.stringify(line).includes('pod-1.6'));
    expect(keyferry.output()).not.toContain(canary);
  });

  test('logs one warning at the start if its Node is older than serve needs, and none otherwise', () => {
    const warnings = keyferry!.logs.filter(({ msg }) => msg?.includes('needs Node') === true);
    const isOld = Number(process.versions.node.split('.')[0]) < 24;
    expect(warnings.map(({ level }) => level)).toEqual(isOld ? ['warn'] : []);
  });

  test('exits with 0 on SIGTERM and leaves no socket', async () => {
    const { code, left } = await keyferry!.stop();
    expect({ code, sockets: left.filter((name) => name.includes('sock')) }).toEqual({
      code: 0,
      sockets: [],
    });
  });

  test('rejects with the output when the process cannot start', async () => {
    await expect(
      startKeyferry({ providers: ['local'], args: ['--max-mounts', 'many'] }),
    ).rejects.toThrow(/respond as local: keyferry ended:\n.*--max-mounts/s);
  });
});
