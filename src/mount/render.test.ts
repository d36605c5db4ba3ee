import { describe, expect, test } from '@jest/globals';
import { thrownError } from '../../test/fakes/failure.ts';
import { SecretError } from '../core/errors.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { FileRequest, Plan, SecretRef, Selector } from '../core/plan.ts';
import type { Outcome, SecretValue } from '../core/provider.ts';
import { createRender, type RenderOptions } from './render.ts';
import { createSelect } from './extract.ts';

const versionKey = Buffer.alloc(32, 7);
const render = createRender({ versionKey });

const secret = (name: string): SecretRef => ({ service: 'csms', name });
const file = (
  ref: SecretRef,
  path: string,
  request: Partial<FileRequest> & { selector?: Selector } = {},
): FileRequest => {
  const { selector = { kind: 'whole' }, ...rest } = request;
  return { path, sources: { value: { ref, selector } }, encoding: 'utf-8', ...rest };
};
const plan = (...files: FileRequest[]): Plan => ({
  refs: [...new Set(files.map(({ sources }) => sources.value!.ref))],
  files,
  login: undefined,
});
const delivered = (
  ref: SecretRef,
  content: string | Uint8Array,
  rest: Partial<SecretValue> = { version: 'v1' },
): Outcome => ({
  kind: 'value',
  ref,
  served: ref,
  value: { bytes: typeof content === 'string' ? Buffer.from(content) : content, ...rest },
});
const absent = (ref: SecretRef): Outcome => ({
  kind: 'absent',
  ref,
  error: new SecretError('OBJECT_NOT_FOUND', `no secret ${ref.name}`),
});
const failed = (ref: SecretRef, code: ErrorCode): Outcome => ({
  kind: 'failed',
  ref,
  error: new SecretError(code, `${code} ${ref.name}`, { hint: 'hint' }),
});

const [a, b, c] = [secret('a'), secret('b'), secret('c')];

describe('a volume', () => {
  test('has its expressions cut when they take too long together, whatever the secret', () => {
    const files = [a, b, c].flatMap((ref) =>
      Array.from({ length: 20 }, (_, index) =>
        file(ref, `${ref.name}${index}`, {
          selector: {
            kind: 'jmespath',
            expression: `[a,a,a,a][].[@,@,@,@][].[@,@,@,@][].[@,@,@,@] | [${index}]`,
          },
        }),
      ),
    );
    const document = JSON.stringify({ a: Array.from({ length: 10_000 }, (_, index) => index) });
    const before = performance.now();
    const error = thrownError(() =>
      render(
        plan(...files),
        [a, b, c].map((ref) => delivered(ref, document)),
        0o644,
      ),
    );
    expect(performance.now() - before).toBeLessThan(1_500);
    expect(error.code).toBe('INVALID_CLASS');
  });

  test('has every file of the plan, in its order, with modes and versions', () => {
    const files = [
      file(b, 'b.json', { mode: 0o400 }),
      file(a, 'dir/a'),
      file(b, 'user', { selector: { kind: 'key', key: 'user' } }),
      file(b, 'none', { mode: 0 }),
    ];
    const volume = render(
      plan(...files),
      [delivered(b, '{"user":"app"}', { version: 'v2' }), delivered(a, 'text')],
      0o644,
    );
    expect(
      volume.files.map(({ path, mode, contents }) => [
        path,
        mode,
        Buffer.from(contents).toString(),
      ]),
    ).toEqual([
      ['b.json', 0o400, '{"user":"app"}'],
      ['dir/a', 0o644, 'text'],
      ['user', 0o644, 'app'],
      ['none', 0, '{"user":"app"}'],
    ]);
    expect(volume.versions).toEqual([
      { id: 'b.json', version: expect.stringMatching(/^v2\+[0-9a-f]{8}$/) },
      { id: 'dir/a', version: 'v1' },
      { id: 'user', version: expect.stringMatching(/^v2\+[0-9a-f]{8}$/) },
      { id: 'none', version: expect.stringMatching(/^v2\+[0-9a-f]{8}$/) },
    ]);
  });

  test('holds the cached buffer itself', () => {
    const bytes = Buffer.from([0, 255]);
    const { files } = render(plan(file(a, 'a')), [delivered(a, bytes)], 0o644);
    expect(files[0]!.contents).toBe(bytes);
    expect([...bytes]).toEqual([0, 255]);
  });

  test('is decoded where the user says it is encoded', () => {
    const files = [
      file(a, 'raw'),
      file(a, 'bytes', { encoding: 'base64' }),
      file(b, 'key', { encoding: 'hex', selector: { kind: 'key', key: 'k' } }),
    ];
    const volume = render(
      plan(...files),
      [delivered(a, 'AP8=\n'), delivered(b, '{"k":"00fF"}')],
      0o644,
    );
    expect(volume.files.map(({ contents }) => Buffer.from(contents).toString('latin1'))).toEqual([
      'AP8=\n',
      '\0\xff',
      '\0\xff',
    ]);
  });

  test('of a plan without files is refused', () =>
    expect(thrownError(() => render(plan(), [], 0o644)).code).toBe('INVALID_CLASS'));

  test('may hold empty files', () =>
    expect(render(plan(file(a, 'a')), [delivered(a, '')], 0o644).files[0]!.contents).toHaveLength(
      0,
    ));
});

describe('optional secrets', () => {
  const optional = { optional: true };
  test('leave out all their files and versions', () => {
    const files = [
      file(a, 'a'),
      file(b, 'b', optional),
      file(b, 'b2', { ...optional, selector: { kind: 'key', key: 'k' } }),
    ];
    const volume = render(plan(...files), [delivered(a, 'x'), absent(b)], 0o644);
    expect(volume.files.map(({ path }) => path)).toEqual(['a']);
    expect(volume.versions.map(({ id }) => id)).toEqual(['a']);
  });
  test('leave one empty file when nothing remains', () =>
    expect(render(plan(file(b, 'b', optional)), [absent(b)], 0o640)).toEqual({
      files: [{ path: '.keyferry-empty', mode: 0o640, contents: new Uint8Array(0) }],
      versions: [{ id: '.keyferry-empty', version: 'absent' }],
    }));
  test('are not, while another file needs them', () =>
    expect(
      thrownError(() => render(plan(file(b, 'b', optional), file(b, 'c')), [absent(b)], 0o644))
        .code,
    ).toBe('OBJECT_NOT_FOUND'));
  test('fail when denied, out of reach, or without the key', () => {
    for (const code of ['ACCESS_DENIED', 'STORE_UNAVAILABLE'] as const)
      expect(
        thrownError(() => render(plan(file(b, 'b', optional)), [failed(b, code)], 0o644)).code,
      ).toBe(code);
    const missingKey = plan(file(b, 'b', { ...optional, selector: { kind: 'key', key: 'k' } }));
    expect(thrownError(() => render(missingKey, [delivered(b, '{}')], 0o644)).code).toBe(
      'KEY_NOT_FOUND',
    );
  });
});

describe('failures', () => {
  const three = plan(file(a, 'a'), file(b, 'b'), file(c, 'c'));
  test('a single one is thrown as it is', () => {
    const outcome = failed(b, 'ACCESS_DENIED') as Extract<Outcome, { kind: 'failed' }>;
    expect(
      thrownError(() => render(three, [delivered(a, 'x'), outcome, delivered(c, 'x')], 0o644)),
    ).toBe(outcome.error);
  });
  test('what the store refused comes before what the class asks, and an outage last', () => {
    const noKey = plan(
      file(a, 'a'),
      file(b, 'b', { selector: { kind: 'key', key: 'k' } }),
      file(c, 'c'),
    );
    const worst = (...outcomes: Outcome[]): unknown[] => {
      const { code, more, message, hint } = thrownError(() => render(noKey, outcomes, 0o644));
      return [code, more, message, hint];
    };
    expect(
      worst(failed(a, 'STORE_TIMEOUT'), delivered(b, '{}'), failed(c, 'ACCESS_DENIED')),
    ).toEqual(['ACCESS_DENIED', 2, 'ACCESS_DENIED c', 'hint']);
    expect(worst(failed(a, 'STORE_TIMEOUT'), delivered(b, '{}'), delivered(c, ''))).toEqual([
      'KEY_NOT_FOUND',
      1,
      'csms secret "b" has no key "k"',
      'check the spelling, letter case counts',
    ]);
    expect(
      worst(failed(a, 'STORE_TIMEOUT'), failed(b, 'OVERLOADED'), failed(c, 'STORE_THROTTLED'))[0],
    ).toBe('OVERLOADED');
    expect(
      worst(absent(a), failed(b, 'ACCESS_DENIED'), failed(c, 'ACCESS_DENIED')).slice(0, 2),
    ).toEqual(['OBJECT_NOT_FOUND', 2]);
  });
  test('counts each secret once, however many files want it', () => {
    const twice = plan(file(a, 'a'), file(a, 'a2'), file(b, 'b'));
    expect(
      thrownError(() => render(twice, [failed(a, 'ACCESS_DENIED'), delivered(b, 'x')], 0o644)).more,
    ).toBe(0);
  });
  test('a value in another encoding than said', () =>
    expect(
      thrownError(() =>
        render(plan(file(a, 'cert', { encoding: 'base64' })), [delivered(a, 'canary!')], 0o644),
      ).summary,
    ).toBe(
      'what csms secret "a" has for the file cert is not base64; store it in that encoding, or leave `encoding` out',
    ));
  test('files larger together than an answer may be', () => {
    const small = createRender({ versionKey, maxBytes: 100 });
    const outcomes = [
      delivered(a, 'x'.repeat(40)),
      delivered(b, 'x'.repeat(50)),
      delivered(c, 'x'.repeat(11)),
    ];
    expect(thrownError(() => small(three, outcomes, 0o644)).summary).toBe(
      'the files are larger than 100 bytes; largest: b (50 bytes), a (40 bytes), c (11 bytes); split the class into several volumes',
    );
    expect(
      small(three, [...outcomes.slice(0, 2), delivered(c, 'x'.repeat(10))], 0o644).files,
    ).toHaveLength(3);
  });
  test('outcomes that are not the plan’s', () => {
    for (const outcomes of [
      [],
      [delivered(a, 'x')],
      [delivered(b, 'x'), delivered(a, 'x'), delivered(c, 'x')],
      [delivered(a, 'x'), delivered(secret('b'), 'x'), delivered(c, 'x')],
    ])
      expect(thrownError(() => render(three, outcomes, 0o644)).code).toBe('INTERNAL');
  });
  test('a file of a secret that the plan does not read', () => {
    const stray: Plan = { ...plan(file(a, 'a')), files: [file(a, 'a'), file(b, 'b')] };
    expect(thrownError(() => render(stray, [delivered(a, 'x')], 0o644)).code).toBe('INTERNAL');
  });
});

describe('a cached mount', () => {
  /** Counts what is taken out of secrets. */
  const counting = (
    options: Partial<RenderOptions> = {},
  ): { render: ReturnType<typeof createRender>; taken: () => number } => {
    let taken = 0;
    const select = createSelect();
    return {
      taken: () => taken,
      render: createRender({
        versionKey,
        ...options,
        select: (ref, value) => {
          const take = select(ref, value);
          return (selector) => {
            taken += 1;
            return take(selector);
          };
        },
      }),
    };
  };
  const key = (name: string): { selector: Selector } => ({ selector: { kind: 'key', key: name } });
  const json = '{"k":"value","l":"another"}';

  test('parses nothing, and gives the same buffers', () => {
    const { render: again, taken } = counting();
    const cached = plan(file(a, 'a'), file(a, 'k', key('k')), file(a, 'l', key('l')));
    const outcomes = [delivered(a, json)];
    const first = again(cached, outcomes, 0o644);
    const second = again(cached, outcomes, 0o600);
    expect(taken()).toBe(3);
    expect(second.files.map(({ contents }) => contents)).toEqual(
      first.files.map(({ contents }) => contents),
    );
    expect(second.files[1]!.contents).toBe(first.files[1]!.contents);
    expect(second.versions).toEqual(first.versions);
    expect(second.files[0]!.mode).toBe(0o600);
  });

  test('of another value, or another class, takes anew', () => {
    const { render: again, taken } = counting();
    const one = plan(file(a, 'k', key('k')));
    const text = (volume: ReturnType<typeof again>): string =>
      Buffer.from(volume.files[0]!.contents).toString();
    expect(text(again(one, [delivered(a, json)], 0o644))).toBe('value');
    expect(text(again(one, [delivered(a, '{"k":"new"}')], 0o644))).toBe('new');
    expect(text(again(plan(file(a, 'k', key('l'))), [delivered(a, json)], 0o644))).toBe('another');
    expect(taken()).toBe(3);
  });

  test('keeps no more beside a secret than it has itself', () => {
    const { render: again, taken } = counting();
    const value = delivered(a, `{"k":"${'x'.repeat(2_000)}"}`);
    const classes = Array.from({ length: 10 }, (_, index) => plan(file(a, `f${index}`, key('k'))));
    for (const one of classes) again(one, [value], 0o644);
    again(classes[9]!, [value], 0o644);
    expect(taken()).toBe(10);
    again(classes[0]!, [value], 0o644);
    expect(taken()).toBe(11);
  });
});
