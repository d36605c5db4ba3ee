import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ScriptedProvider,
  startScriptedProvider,
} from '../../test/driver/scripted-provider.ts';
import { type DriverClient, type DriverClientOptions, createDriverClient } from './client.ts';

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
  client = createDriverClient({ socketPath: provider.socketPath, ...options });
  return client;
}

test('carries a mount there and back', async () => {
  const contents = Buffer.from([0, 255]);
  provider.script({
    objectVersion: [{ id: 'f', version: 'v1' }],
    files: [{ path: 'f', mode: 256, contents }],
  });
  const answer = await connect().mount(request);
  expect(answer).toMatchObject({
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

test('asks for the version', async () => {
  expect(await connect().version()).toMatchObject({
    code: 'OK',
    response: { runtimeName: 'scripted' },
  });
});

describe('a failure is an answer with its code', () => {
  test('what the provider said', async () => {
    provider.script({ code: 'PERMISSION_DENIED', message: 'not for you' });
    expect(await connect().mount(request)).toEqual({
      code: 'PERMISSION_DENIED',
      message: 'not for you',
    });
  });

  test('a deadline that passed, which the provider was told', async () => {
    provider.script('never');
    expect(await connect().mount(request, { timeoutMs: 50 })).toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    expect(provider.requests[0]?.remainingMs).toBeLessThanOrEqual(50);
  });

  test('a signal, before and during the call', async () => {
    provider.script('never');
    const controller = new AbortController();
    const answer = connect().mount(request, { signal: controller.signal });
    controller.abort();
    expect(await answer).toMatchObject({ code: 'CANCELLED' });
    expect(await connect().mount(request, { signal: controller.signal })).toMatchObject({
      code: 'CANCELLED',
    });
  });

  test('an answer that is too long', async () => {
    provider.script({ files: [{ path: 'f', mode: 0o644, contents: Buffer.alloc(2_000) }] });
    expect(await connect({ maxReceiveBytes: 1_000 }).mount(request)).toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
    });
  });

  test('a socket that is not there', async () => {
    expect(await connect({ socketPath: join(dir, 'none.sock') }).mount(request)).toMatchObject({
      code: 'UNAVAILABLE',
    });
  });
});

test('can send the socket path as authority, which a bare grpc-js server refuses', async () => {
  provider.script({ files: [] });
  const answer = await connect({ authority: 'socket-path' }).mount(request);
  expect(answer.code).not.toBe('OK');
  expect(provider.requests).toEqual([]);
});
