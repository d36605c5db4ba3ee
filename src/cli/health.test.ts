import { afterEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { missingPath } from '../../test/missing-path.ts';
import { startFixture, volume } from '../../test/csi/harness.ts';
import { startScriptedProvider } from '../../test/driver/scripted-provider.ts';
import { healthCommand } from './health.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function serve(healthAddress = '127.0.0.1:0') {
  const server = await startFixture(async () => volume, { healthAddress });
  cleanups.push(server.close);
  return server;
}

async function health(...args: string[]): Promise<{ output: string; exitCode: number }> {
  let output = '';
  let exitCode = 0;
  const command = healthCommand({
    stdout: { write: (text) => (output += text) },
    setExitCode: (code) => (exitCode = code),
  });
  await command.exitOverride().parseAsync(args, { from: 'user' });
  return { output, exitCode };
}

describe('keyferry health', () => {
  test('reads readiness, health and metrics', async () => {
    const address = `127.0.0.1:${(await serve()).port}`;
    const ready = { output: '{"ready":true,"reasons":[]}\n', exitCode: 0 };
    expect(await health('--health-address', address)).toEqual(ready);
    expect(await health('live', '--health-address', address)).toEqual({
      output: 'ok\n',
      exitCode: 0,
    });
    expect((await health('metrics', '--health-address', address)).output).toContain(
      'keyferry_socket_owned',
    );
  });

  test('uses the first of several addresses, which may be a unix socket', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kf-'));
    const addresses = `unix:${folder}/h,127.0.0.1:0`;
    await serve(addresses);
    cleanups.push(() => rm(folder, { recursive: true }));
    expect((await health('--health-address', addresses)).exitCode).toBe(0);
  });

  test.each(['0.0.0.0', '[::]', ''])(
    'connects by loopback to a server that listens at "%s", on all addresses',
    async (host) => {
      const { port } = await serve(`${host}:0`);
      expect((await health('--health-address', `${host}:${port}`)).exitCode).toBe(0);
    },
  );

  test('prints the reasons and exits with 1 if the process is not ready', async () => {
    const server = await serve();
    const foreign = await startScriptedProvider(join(server.folder, 'foreign'), 'cce');
    cleanups.push(async () => foreign.stop());
    await rename(foreign.socketPath, server.path);
    const { output, exitCode } = await health(
      'live',
      '--health-address',
      `127.0.0.1:${server.port}`,
    );
    expect(exitCode).toBe(1);
    expect(output).toBe(`${server.path} is served by another program\n`);
  });

  test('reports the address where no process responds', async () => {
    const address = `unix:${missingPath()}`;
    await expect(health('--health-address', address)).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: `no process responds to health requests at ${address}: ENOENT`,
    });
  });

  test('rejects an unknown endpoint', async () => {
    await expect(health('well')).rejects.toMatchObject({ code: 'commander.invalidArgument' });
  });
});
