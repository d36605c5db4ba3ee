import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ClientHttp2Session } from 'node:http2';
import { callRaw, grpcMessage, http2At, serving, volume } from '../../test/csi/harness.ts';
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

type Fixture = Awaited<ReturnType<typeof serving>>;
let fixture: Fixture;
let raw: ClientHttp2Session;
let mount: DriverMount;

beforeAll(async () => {
  fixture = await serving((request, circumstances) => mount(request, circumstances), {
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
  const answer = await driver.start({}, timeoutMs).answer;
  driver.close();
  return answer;
}

const nothing = undefined as unknown as Error;
const never = (): Promise<never> => new Promise(() => undefined);
const withFiles =
  (files: Volume['files']): DriverMount =>
  async () => ({ ...volume, files });

describe('a mount that fails', () => {
  test.each(Object.keys(codes) as ErrorCode[])('with %s ends with a final code', async (code) => {
    const { code: status, text } = await mountWith(() =>
      Promise.reject(
        new SecretError(code, 'object db/ключ\nis gone', { hint: 'make it', more: 2 }),
      ),
    );
    expect(finalCodes).toContain(status);
    expect(status).toBe(codes[code].grpc);
    expect(text).toMatch(`${code}: object db/ключ is gone; make it; and 2 more`);
  });

  test('says so in one printable line of at most 1,000 bytes', async () => {
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
    ['rejects with nothing', () => Promise.reject(nothing)],
    ['trips over a value', async () => JSON.parse('{"password": canary-value') as never],
  ])(
    'and %s ends with INTERNAL, and what it said is neither told nor logged',
    async (_, handler) => {
      expect(await mountWith(handler)).toMatchObject({
        code: 'INTERNAL',
        text: expect.stringContaining('please report it'),
      });
      expect(fixture.log()).not.toContain('canary');
      expect(fixture.log()).toContain('"code":"INTERNAL"');
      // And the process lives.
      expect(await mountWith(async () => volume)).toMatchObject({ code: 'OK' });
    },
  );

  test('or makes no files, or no versions, sends nothing', async () => {
    const [file] = volume.files;
    for (const nothing of [
      { files: [], versions: volume.versions },
      { files: [file!], versions: [] },
      { files: [file!], versions: [{ id: 'a', version: '' }] },
    ]) {
      expect(await mountWith(async () => nothing)).toMatchObject({
        code: 'INTERNAL',
        text: expect.stringContaining('without files or versions'),
      });
    }
  });

  test('by its size names its largest files', async () => {
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
  ])('with %d ms to go is answered within %d ms', (remaining, within) => {
    expect(mountTimeoutMs(remaining)).toBe(within);
  });

  test('is answered before its caller gives up, and told to stop', async () => {
    const reasons: unknown[] = [];
    const started = performance.now();
    const answer = await mountWith((_, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return never();
    }, 300);
    expect(answer).toMatchObject({
      code: 'INTERNAL',
      text: expect.stringContaining('the mount was not finished within 0.1 s'),
    });
    expect(performance.now() - started).toBeLessThan(300);
    expect(reasons).toEqual([expect.objectContaining({ code: 'DEADLINE' })]);
    expect(fixture.log()).toContain('"code":"DEADLINE"');
  });

  test.each(['1n', '0m', '1u'])(
    'ends with INTERNAL even where the caller gives it %s',
    async (timeout) => {
      mount = never;
      const answer = await callRaw(raw, grpcMessage(Buffer.alloc(0)), { 'grpc-timeout': timeout });
      expect(answer.code).toBe('INTERNAL');
    },
  );
});

describe('a call that is no mount', () => {
  test.each<[string, Buffer | undefined, Record<string, string>, string]>([
    ['without a message', undefined, {}, 'INVALID_ARGUMENT'],
    [
      'with two messages',
      Buffer.concat([grpcMessage(Buffer.alloc(0)), grpcMessage(Buffer.alloc(0))]),
      {},
      'INVALID_ARGUMENT',
    ],
    [
      'with a message beyond 4 MiB',
      grpcMessage(Buffer.alloc(4 * 1024 * 1024 + 1)),
      {},
      'INVALID_ARGUMENT',
    ],
    [
      'with bytes that are no message',
      grpcMessage(Buffer.from('0aff', 'hex')),
      {},
      'INVALID_ARGUMENT',
    ],
    [
      'with a compression nobody knows',
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
      'with a timeout that is none',
      grpcMessage(Buffer.alloc(0)),
      { 'grpc-timeout': 'soon' },
      'INVALID_ARGUMENT',
    ],
  ])('%s ends with a final code', async (_, body, headers, code) => {
    mount = never;
    expect(await callRaw(raw, body, headers)).toMatchObject({ code });
  });
});
