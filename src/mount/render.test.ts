import { describe, expect, test } from '@jest/globals';
import { thrownError } from '../../test/fakes/failure.ts';
import { SecretError } from '../core/errors.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { FileRequest, Plan, SecretRef, Selector } from '../core/plan.ts';
import type { Outcome, SecretValue } from '../core/provider.ts';
import { createRender, type RenderOptions } from './render.ts';
import { createOpenSecret } from './extract.ts';

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

/** Counts extractions, without those of whole secrets, which parse nothing. */
const countingRender = (
  options: Partial<RenderOptions> = {},
): { render: ReturnType<typeof createRender>; extractions: () => number } => {
  let extractions = 0;
  const openSecret = createOpenSecret();
  return {
    extractions: () => extractions,
    render: createRender({
      versionKey,
      ...options,
      openSecret: (ref, value, time) => {
        const extract = openSecret(ref, value, time);
        return (selector) => {
          if (selector.kind !== 'whole') extractions += 1;
          return extract(selector);
        };
      },
    }),
  };
};

describe('a volume', () => {
  test('fails when its expressions take too long together, across secrets', () => {
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
    const { render: countedRender, extractions } = countingRender();
    const error = thrownError(() =>
      countedRender(
        plan(...files),
        [a, b, c].map((ref) => delivered(ref, document)),
        0o644,
      ),
    );
    expect(error.code).toBe('INVALID_CLASS');
    // Each takes milliseconds of CPU, and all share 200 ms. The first ones use them up.
    expect(extractions()).toBeLessThan(files.length / 2);
  });

  test('has every file of the plan in order, with modes and versions', () => {
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

  test('contains the cached buffer, not a copy', () => {
    const bytes = Buffer.from([0, 255]);
    const { files } = render(plan(file(a, 'a')), [delivered(a, bytes)], 0o644);
    expect(files[0]!.contents).toBe(bytes);
    expect([...bytes]).toEqual([0, 255]);
  });

  test('decodes files that declare an encoding', () => {
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

  test('rejects a plan without files', () =>
    expect(thrownError(() => render(plan(), [], 0o644)).code).toBe('INVALID_CLASS'));

  test('accepts empty files', () =>
    expect(render(plan(file(a, 'a')), [delivered(a, '')], 0o644).files[0]!.contents).toHaveLength(
      0,
    ));
});

describe('optional secrets', () => {
  const optional = { optional: true };
  test('are left out with all their files and versions when absent', () => {
    const files = [
      file(a, 'a'),
      file(b, 'b', optional),
      file(b, 'b2', { ...optional, selector: { kind: 'key', key: 'k' } }),
    ];
    const volume = render(plan(...files), [delivered(a, 'x'), absent(b)], 0o644);
    expect(volume.files.map(({ path }) => path)).toEqual(['a']);
    expect(volume.versions.map(({ id }) => id)).toEqual(['a']);
  });
  test('leave one empty file when no other file remains', () =>
    expect(render(plan(file(b, 'b', optional)), [absent(b)], 0o640)).toEqual({
      files: [{ path: '.keyferry-empty', mode: 0o640, contents: new Uint8Array(0) }],
      versions: [{ id: '.keyferry-empty', version: 'absent' }],
    }));
  test('fail when absent and another file requires them', () =>
    expect(
      thrownError(() => render(plan(file(b, 'b', optional), file(b, 'c')), [absent(b)], 0o644))
        .code,
    ).toBe('OBJECT_NOT_FOUND'));
  test('fail when denied, unavailable, or without the key', () => {
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
  test('throws a single failure unchanged', () => {
    const outcome = failed(b, 'ACCESS_DENIED') as Extract<Outcome, { kind: 'failed' }>;
    expect(
      thrownError(() => render(three, [delivered(a, 'x'), outcome, delivered(c, 'x')], 0o644)),
    ).toBe(outcome.error);
  });
  test('orders a denial by the store before a mistake in the class, and an outage last', () => {
    const noKey = plan(
      file(a, 'a'),
      file(b, 'b', { selector: { kind: 'key', key: 'k' } }),
      file(c, 'c'),
    );
    const worst = (...outcomes: Outcome[]): unknown[] => {
      const { code, others, message, hint } = thrownError(() => render(noKey, outcomes, 0o644));
      return [code, others, message, hint];
    };
    expect(
      worst(failed(a, 'STORE_TIMEOUT'), delivered(b, '{}'), failed(c, 'ACCESS_DENIED')),
    ).toEqual(['ACCESS_DENIED', ['the file b'], 'ACCESS_DENIED c', 'hint']);
    expect(worst(failed(a, 'STORE_TIMEOUT'), delivered(b, '{}'), delivered(c, ''))).toEqual([
      'KEY_NOT_FOUND',
      [],
      'csms secret "b" has no key "k"',
      'check the spelling, letter case counts',
    ]);
    expect(
      worst(failed(a, 'STORE_TIMEOUT'), failed(b, 'OVERLOADED'), failed(c, 'STORE_THROTTLED'))[0],
    ).toBe('OVERLOADED');
    expect(
      worst(absent(a), failed(b, 'ACCESS_DENIED'), failed(c, 'ACCESS_DENIED')).slice(0, 2),
    ).toEqual(['OBJECT_NOT_FOUND', ['csms secret "b"', 'csms secret "c"']]);
  });
  test('counts a secret once when several files need it', () => {
    const twice = plan(file(a, 'a'), file(a, 'a2'), file(b, 'b'));
    expect(
      thrownError(() => render(twice, [failed(a, 'ACCESS_DENIED'), delivered(b, 'x')], 0o644))
        .others,
    ).toEqual([]);
  });
  test('names the file whose content is not in the declared encoding', () =>
    expect(
      thrownError(() =>
        render(plan(file(a, 'cert', { encoding: 'base64' })), [delivered(a, 'canary!')], 0o644),
      ).summary,
    ).toBe(
      'the content of csms secret "a" for the file cert is not base64; store it in that encoding, or remove `encoding`',
    ));
  test('lists the largest files when the response is too large', () => {
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
  test('rejects outcomes that do not match the plan', () => {
    for (const outcomes of [
      [],
      [delivered(a, 'x')],
      [delivered(b, 'x'), delivered(a, 'x'), delivered(c, 'x')],
      [delivered(a, 'x'), delivered(secret('b'), 'x'), delivered(c, 'x')],
    ])
      expect(thrownError(() => render(three, outcomes, 0o644)).code).toBe('INTERNAL');
  });
  test('rejects a file whose secret the plan does not read', () => {
    const invalid: Plan = { ...plan(file(a, 'a')), files: [file(a, 'a'), file(b, 'b')] };
    expect(thrownError(() => render(invalid, [delivered(a, 'x')], 0o644)).code).toBe('INTERNAL');
  });
});

describe('a cached mount', () => {
  const key = (name: string): { selector: Selector } => ({ selector: { kind: 'key', key: name } });
  const json = '{"k":"value","l":"another"}';

  test('parses nothing and returns the same buffers', () => {
    const { render: countedRender, extractions } = countingRender();
    const cached = plan(file(a, 'a'), file(a, 'k', key('k')), file(a, 'l', key('l')));
    const outcomes = [delivered(a, json)];
    const first = countedRender(cached, outcomes, 0o644);
    const second = countedRender(cached, outcomes, 0o600);
    expect(extractions()).toBe(2);
    expect(second.files.map(({ contents }) => contents)).toEqual(
      first.files.map(({ contents }) => contents),
    );
    for (const index of [0, 1, 2])
      expect(second.files[index]!.contents).toBe(first.files[index]!.contents);
    expect(second.versions).toEqual(first.versions);
    expect(second.files[0]!.mode).toBe(0o600);
  });

  test('extracts again from another value and for another class', () => {
    const { render: countedRender, extractions } = countingRender();
    const one = plan(file(a, 'k', key('k')));
    const text = (volume: ReturnType<typeof countedRender>): string =>
      Buffer.from(volume.files[0]!.contents).toString();
    expect(text(countedRender(one, [delivered(a, json)], 0o644))).toBe('value');
    expect(text(countedRender(one, [delivered(a, '{"k":"new"}')], 0o644))).toBe('new');
    expect(text(countedRender(plan(file(a, 'k', key('l'))), [delivered(a, json)], 0o644))).toBe(
      'another',
    );
    expect(extractions()).toBe(3);
  });

  test('caches at most the size of the secret', () => {
    const { render: countedRender, extractions } = countingRender();
    const value = delivered(a, `{"k":"${'x'.repeat(2_000)}"}`);
    const classes = Array.from({ length: 10 }, (_, index) => plan(file(a, `f${index}`, key('k'))));
    for (const one of classes) countedRender(one, [value], 0o644);
    countedRender(classes[9]!, [value], 0o644);
    expect(extractions()).toBe(10);
    countedRender(classes[0]!, [value], 0o644);
    expect(extractions()).toBe(11);
  });
});
