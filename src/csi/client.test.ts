import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ScriptedProvider,
  startScriptedProvider,
} from '../../test/driver/scripted-provider.ts';
import { DriverClient, type DriverClientOptions } from './client.ts';

const request = {
  attributes: '{"a":"b"}',
  secrets: 'null',
  targetPath: '/t',
  permission: '420',
  currentVersions: [{ id: 'x', version: '1' }],
};

let dir: string;
let provider: ScriptedProvider;
let client: DriverClient | undefined;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-client-'));
  provider = await startScriptedProvider(dir, 'p');
});
afterEach(async () => {
  client?.close();
  provider.stop();
  await rm(dir, { recursive: true });
});

function connect(options: Partial<DriverClientOptions> = {}): DriverClient {
  client = new DriverClient({ socketPath: provider.socketPath, ...options });
  return client;
}

test('sends a mount and returns its response', async () => {
  const contents = Buffer.from([0, 255]);
  provider.script({
    objectVersion: [{ id: 'f', version: 'v1' }],
    files: [{ path: 'f', mode: 256, contents }],
  });
  const result = await connect().mount(request);
  expect(result).toMatchObject({
    code: 'OK',
    response: {
      objectVersion: [{ id: 'f', version: 'v1' }],
      files: [{ path: 'f', mode: 256, contents }],
      error: undefined,
    },
  });
  expect(provider.requests[0]).toMatchObject({
    attributes: '{"a":"b"}',
    secrets: 'null',
    targetPath: '/t',
    permission: '420',
    currentObjectVersion: [{ id: 'x', version: '1' }],
    remainingMs: Infinity,
  });
});

test('returns the version', async () => {
  expect(await connect().version()).toMatchObject({
    code: 'OK',
    response: { runtimeName: 'scripted' },
  });
});

describe('a failure is a result with a code', () => {
  test('a status of the provider', async () => {
    provider.script({ code: 'PERMISSION_DENIED', message: 'not for you' });
    expect(await connect().mount(request)).toEqual({
      code: 'PERMISSION_DENIED',
      message: 'not for you',
    });
  });

  test('a deadline, which the provider receives', async () => {
    provider.script('noResponse');
    expect(await connect().mount(request, { timeoutMs: 50 })).toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    expect(provider.requests[0]?.remainingMs).toBeLessThanOrEqual(50);
  });

  test('a signal, before and during the call', async () => {
    provider.script('noResponse');
    const controller = new AbortController();
    const result = connect().mount(request, { signal: controller.signal });
    controller.abort();
    expect(await result).toMatchObject({ code: 'CANCELLED' });
    expect(await connect().mount(request, { signal: controller.signal })).toMatchObject({
      code: 'CANCELLED',
    });
  });

  test('a response above the limit', async () => {
    provider.script({ files: [{ path: 'f', mode: 0o644, contents: Buffer.alloc(2_000) }] });
    expect(await connect({ maxReceiveBytes: 1_000 }).mount(request)).toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
    });
  });

  test('a missing socket', async () => {
    expect(await connect({ socketPath: join(dir, 'none.sock') }).mount(request)).toMatchObject({
      code: 'UNAVAILABLE',
    });
  });
});

test('can send the socket path as authority, which a plain grpc-js server rejects', async () => {
  provider.script({ files: [] });
  const result = await connect({ authority: 'socket-path' }).mount(request);
  expect(result.code).not.toBe('OK');
  expect(provider.requests).toEqual([]);
});
