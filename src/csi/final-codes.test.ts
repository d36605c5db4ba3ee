import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { ClientHttp2Session } from 'node:http2';
import {
  callRaw,
  eventually,
  grpcMessage,
  http2At,
  startFixture,
  volume,
} from '../../test/csi/harness.ts';
import { codes, type ErrorCode } from '../core/errors.ts';
import { SecretError } from '../core/errors.ts';
import type { DriverMount } from './mount-request.ts';
import type { Volume } from '../mount/types.ts';
import { mountTimeoutMs } from './mount-handler.ts';

/** After any other code a driver can start the pod on an empty volume. */
const finalCodes = [
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'PERMISSION_DENIED',
  'UNAUTHENTICATED',
  'FAILED_PRECONDITION',
  'INTERNAL',
];

type Fixture = Awaited<ReturnType<typeof startFixture>>;
let fixture: Fixture;
let raw: ClientHttp2Session;
let mount: DriverMount;

beforeAll(async () => {
  fixture = await startFixture((request, context) => mount(request, context), {
    maxResponseBytes: 1_000,
  });
  raw = http2At(fixture.path);
});
afterAll(async () => {
  raw.close();
  await fixture.close();
});

async function mountWith(
  handler: DriverMount,
  timeoutMs?: number,
): Promise<{ code: string; text: string }> {
  mount = handler;
  const driver = fixture.driver();
  const result = await driver.start({}, timeoutMs).result;
  driver.close();
  return result;
}

const noError = undefined as unknown as Error;
const never = (): Promise<never> => new Promise(() => undefined);
const withFiles =
  (files: Volume['files']): DriverMount =>
  async () => ({ ...volume, files });

describe('a mount that fails', () => {
  test.each(Object.keys(codes) as ErrorCode[])('with %s ends with a final code', async (code) => {
    const { code: status, text } = await mountWith(() =>
      Promise.reject(
        new SecretError(code, 'object db/ключ\nis gone', { hint: 'make it', others: ['a', 'b'] }),
      ),
    );
    expect(finalCodes).toContain(status);
    expect(status).toBe(codes[code].grpc);
    expect(text).toMatch(`${code}: object db/ключ is gone; make it; also a, b`);
  });

  test('has a status text of one printable line and at most 1,000 bytes', async () => {
    const { text } = await mountWith(() =>
      Promise.reject(
        new SecretError('INVALID_CLASS', `\u202e\u0007%20 \ud800 ${'ä'.repeat(2_000)}`),
      ),
    );
    expect(text).toMatch(/^INVALID_CLASS: \\u\{202e\}\\u\{7\}%20 \\u\{d800\} ä+\.\.\.$/);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(1_000);
  });

  test.each<[string, DriverMount]>([
    [
      'throws instead of rejecting',
      () => {
        throw new Error('canary-value');
      },
    ],
    ['rejects with a foreign error', () => Promise.reject(new Error('canary-value'))],
    ['rejects with nothing', () => Promise.reject(noError)],
    ['fails to parse a value', async () => JSON.parse('{"password": canary-value') as never],
  ])(
    'and %s ends with INTERNAL, and its message is neither sent nor logged',
    async (_, handler) => {
      expect(await mountWith(handler)).toMatchObject({
        code: 'INTERNAL',
        text: expect.stringContaining('please report it'),
      });
      expect(fixture.log()).not.toContain('canary');
      expect(fixture.log()).toContain('"code":"INTERNAL"');
      // The process still serves.
      expect(await mountWith(async () => volume)).toMatchObject({ code: 'OK' });
    },
  );

  test('because it has no files or no versions sends nothing', async () => {
    const [file] = volume.files;
    for (const incomplete of [
      { files: [], versions: volume.versions },
      { files: [file!], versions: [] },
      { files: [file!], versions: [{ id: 'a', version: '' }] },
    ]) {
      expect(await mountWith(async () => incomplete)).toMatchObject({
        code: 'INTERNAL',
        text: expect.stringContaining('without files or versions'),
      });
    }
  });

  test('because of its size names its largest files', async () => {
    const file = (path: string, length: number) => ({
      path,
      mode: 0o644,
      contents: Buffer.alloc(length),
    });
    expect(
      await mountWith(
        withFiles([file('a', 10), file('big', 900), file('b', 11), file('c\nd', 99)]),
      ),
    ).toMatchObject({
      code: 'FAILED_PRECONDITION',
      text: expect.stringMatching(
        /^RESPONSE_TOO_LARGE: the volume takes 1\d\d\d bytes and the driver accepts 1000; its largest files: big \(900\), c\\u\{a\}d \(99\), b \(11\); split/,
      ),
    });
    expect(fixture.log()).toContain('"code":"RESPONSE_TOO_LARGE"');
  });
});

describe('a mount that hangs', () => {
  test.each([
    [Infinity, 110_000],
    [121_000, 110_000],
    [120_000, 110_000],
    [60_000, 50_000],
    [20_000, 10_000],
    [10_000, 5_000],
    [400, 200],
    [0, 0],
    [-5_000, 0],
  ])('with %d ms left ends within %d ms', (remainingMs, limitMs) => {
    expect(mountTimeoutMs(remainingMs)).toBe(limitMs);
  });

  test('ends before the deadline of its caller, and is aborted', async () => {
    const reasons: unknown[] = [];
    let started = 0;
    // The clock stands still: the deadline of the caller cannot pass before the one of the server.
    jest.useFakeTimers({
      doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'],
    });
    try {
      const result = mountWith((_, context) => {
        const { signal } = context;
        started += 1;
        context.stage = 'cpu';
        signal.addEventListener('abort', () => reasons.push(signal.reason));
        return never();
      }, 200);
      await eventually(() => expect(started).toBe(1));
      jest.advanceTimersByTime(100);
      expect(await result).toMatchObject({
        code: 'INTERNAL',
        text: expect.stringContaining(
          "not finished before the driver's deadline: it waited for CPU time",
        ),
      });
    } finally {
      jest.useRealTimers();
    }
    expect(reasons).toEqual([expect.objectContaining({ code: 'DEADLINE' })]);
    expect(fixture.log()).toContain('"code":"DEADLINE"');
  });

  test.each(['1n', '0m', '1u'])(
    'ends with INTERNAL even when the caller sends a timeout of %s',
    async (timeout) => {
      mount = never;
      const result = await callRaw(raw, grpcMessage(Buffer.alloc(0)), { 'grpc-timeout': timeout });
      expect(result.code).toBe('INTERNAL');
    },
  );
});

describe('an invalid call', () => {
  test.each<[string, Buffer | undefined, Record<string, string>, string]>([
    ['without a message', undefined, {}, 'INVALID_ARGUMENT'],
    [
      'with two messages',
      Buffer.concat([grpcMessage(Buffer.alloc(0)), grpcMessage(Buffer.alloc(0))]),
      {},
      'INVALID_ARGUMENT',
    ],
    [
      'with a message above 4 MiB',
      grpcMessage(Buffer.alloc(4 * 1024 * 1024 + 1)),
      {},
      'INVALID_ARGUMENT',
    ],
    [
      'with bytes that are not a message',
      grpcMessage(Buffer.from('0aff', 'hex')),
      {},
      'INVALID_ARGUMENT',
    ],
    [
      'with an unknown compression',
      grpcMessage(Buffer.from('x'), 1),
      { 'grpc-encoding': 'snappy' },
      'INVALID_ARGUMENT',
    ],
    [
      'with a broken compression',
      grpcMessage(Buffer.from('x'), 1),
      { 'grpc-encoding': 'gzip' },
      'INVALID_ARGUMENT',
    ],
    [
      'with an invalid timeout',
      grpcMessage(Buffer.alloc(0)),
      { 'grpc-timeout': 'soon' },
      'INVALID_ARGUMENT',
    ],
  ])('%s ends with a final code', async (_, body, headers, code) => {
    mount = never;
    expect(await callRaw(raw, body, headers)).toMatchObject({ code });
  });
});
