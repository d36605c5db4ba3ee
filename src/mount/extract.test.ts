import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { thrownError } from '../../test/fakes/failure.ts';
import type { SecretError } from '../core/errors.ts';
import type { Selector } from '../core/plan.ts';
import { createOpenSecret } from './extract.ts';

// The limit has its own tests. The other tests must not reach it on a busy machine.
const openSecret = createOpenSecret({ limitMs: 2_000 });
const ref = { service: 'csms', name: 'db' };

function extractText(document: string | Uint8Array, selector: Selector): string {
  const bytes = typeof document === 'string' ? Buffer.from(document) : document;
  return Buffer.from(openSecret(ref, { bytes })(selector)).toString();
}
const extractKey = (document: string, key: string): string =>
  extractText(document, { kind: 'key', key });
const search = (document: string, expression: string): string =>
  extractText(document, { kind: 'jmespath', expression });
const extractKeyOrSearch = (document: string, text: string): string =>
  extractText(document, { kind: 'key-or-jmespath', text });

describe('the selector whole', () => {
  test('returns the cached buffer, not a copy', () => {
    const bytes = Buffer.from([0, 255, 1]);
    expect(openSecret(ref, { bytes })({ kind: 'whole' })).toBe(bytes);
  });
});

describe('a literal key', () => {
  test.each([
    'db.password',
    'user-name',
    'a b',
    'k/1',
    '键',
    '__proto__',
    'constructor',
    'hasOwnProperty',
    '',
    '"quoted"',
    '@',
    'a\nb',
  ])('%j', (key) => {
    const document = `{${JSON.stringify(key)}: "x", "other": 1}`;
    expect(extractKey(document, key)).toBe('x');
    expect(extractKeyOrSearch(document, key)).toBe('x');
    expect(extractKeyOrSearch(document, JSON.stringify(key))).toBe('x');
  });

  test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', 'length'])(
    '%s is missing unless the document has it',
    (key) => {
      for (const document of ['{"a": {}}', '[1]', '"text"', '1.50'])
        for (const read of [extractKey, extractKeyOrSearch, search])
          expect(thrownError(() => read(document, key)).code).toBe('KEY_NOT_FOUND');
      expect(thrownError(() => search('{"a": {}}', `a.${key}`)).code).toBe('KEY_NOT_FOUND');
      expect(thrownError(() => search('{"a": {}, "b": 1.50}', `[a, b][*].${key} | [0]`)).code).toBe(
        'KEY_NOT_FOUND',
      );
    },
  );

  test('is tried before a JMESPath expression', () => {
    const document = '{"a.b": "literal", "a": {"b": "path", "c": "deep"}}';
    expect(extractKeyOrSearch(document, 'a.b')).toBe('literal');
    expect(extractKeyOrSearch(document, 'a.c')).toBe('deep');
    expect(search(document, 'a.b')).toBe('path');
    expect(extractKeyOrSearch('{"a": [1, 2]}', 'a[1]')).toBe('2');
  });

  test('is not needed where the document is a list', () => {
    expect(extractKeyOrSearch('[1, 2, 3]', '[1:]')).toBe('[2,3]');
    for (const key of ['a', 'a-b'])
      expect(thrownError(() => extractKeyOrSearch('[1]', key)).message).toBe(
        'csms secret "db" is JSON, but not an object with keys',
      );
  });

  test('that is null is not tried as an expression', () =>
    expect(
      thrownError(() => extractKeyOrSearch('{"a.b": null, "a": {"b": 1}}', 'a.b')).message,
    ).toBe('the key "a.b" of csms secret "db" is null'));

  test('may have any name and any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (key, text) => {
        const document = JSON.stringify(Object.fromEntries([[key, text]]));
        expect(extractKey(document, key)).toBe(text.toWellFormed());
      }),
    );
  });
});

describe('the selector sole', () => {
  const sole = (document: string | Uint8Array): string => extractText(document, { kind: 'sole' });

  test.each([
    ['{"password": "x"}', 'x'],
    ['{"port": 5432}', '5432'],
    ['{"n": 1.50}', '1.50'],
    ['{"db": { "a" : 1, "b" : 2 }}', '{"a":1,"b":2}'],
    ['{"list": [1, null]}', '[1,null]'],
    ['{"empty": ""}', ''],
    ['{"__proto__": "x"}', 'x'],
    ['{"constructor": "x"}', 'x'],
    ['{"": "x"}', 'x'],
    ['  {"a": "x"}\n', 'x'],
  ])('takes the value of the only key: %s', (document, text) => expect(sole(document)).toBe(text));

  test.each([
    'plain text',
    '',
    '{}',
    '{ "a" : 1, "b" : 2 }',
    '["x"]',
    '"x"',
    '12',
    'null',
    '{"a": canary',
    '{"a": 1} {"b": 2}',
    '['.repeat(100_000),
  ])('takes the whole text where that is not one key: %#', (document) =>
    expect(sole(document)).toBe(document),
  );

  test('returns the cached buffer where it takes the whole, also if that is not UTF-8', () => {
    const bytes = Buffer.from([0x7b, 255, 0, 0x7d]);
    expect(openSecret(ref, { bytes })({ kind: 'sole' })).toBe(bytes);
  });

  test('fails where the only value is null, and does not show the key', () => {
    const error = thrownError(() => sole('{"canary": null}'));
    expect(error).toMatchObject({
      code: 'KEY_NOT_FOUND',
      message: 'the only key of csms secret "db" is null',
      hint: 'store a value under it, or read another key',
    });
  });

  test('gives the bytes, or what its only key gives', () => {
    const name = fc.constantFrom('a', 'b', '__proto__', 'toString', '0');
    const secret = fc.oneof(
      fc.string(),
      fc.json(),
      fc.array(fc.tuple(name, fc.jsonValue()), { maxLength: 3 }).map((pairs) => {
        const members = pairs.map(
          ([key, item]) => `${JSON.stringify(key)}:${JSON.stringify(item)}`,
        );
        return `{${members.join(',')}}`;
      }),
    );
    const outcome = (read: () => string): string => {
      try {
        return read();
      } catch (thrown) {
        return (thrown as SecretError).code;
      }
    };
    const keysOf = (text: string): readonly string[] => {
      try {
        const value: unknown = JSON.parse(text);
        const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
        return isObject ? Object.keys(value) : [];
      } catch {
        return [];
      }
    };
    fc.assert(
      fc.property(secret, (text) => {
        const [key, ...others] = keysOf(text);
        const expected =
          key === undefined || others.length > 0
            ? text.toWellFormed()
            : outcome(() => extractKey(text, key));
        expect(outcome(() => sole(text))).toBe(expected);
      }),
    );
  });
});

describe('the selector key-or-whole', () => {
  const keyOrWhole = (document: string | Uint8Array, key = 'password'): string =>
    extractText(document, { kind: 'key-or-whole', key });

  test.each([
    ['{"password": "x", "user": "y"}', 'x'],
    ['{"password": 1.50}', '1.50'],
    ['{"password": {"a": 1}}', '{"a":1}'],
  ])('takes the key of an object: %s', (document, text) => expect(keyOrWhole(document)).toBe(text));

  test('takes the key literally', () => {
    expect(keyOrWhole('{"a.b": "literal", "a": {"b": "path"}}', 'a.b')).toBe('literal');
    expect(keyOrWhole('{"__proto__": "x"}', '__proto__')).toBe('x');
  });

  test.each(['plain text', '', '["password"]', '"password"', '12', 'null', '{"password": x'])(
    'takes the whole text where the secret is not an object: %j',
    (document) => expect(keyOrWhole(document)).toBe(document),
  );

  test('returns the cached buffer where it takes the whole', () => {
    const bytes = Buffer.from([255, 0]);
    expect(openSecret(ref, { bytes })({ kind: 'key-or-whole', key: 'a' })).toBe(bytes);
  });

  test.each([
    ['{"user": "canary"}', 'csms secret "db" has no key "password"'],
    ['{}', 'csms secret "db" has no key "password"'],
    ['{"password": null}', 'the key "password" of csms secret "db" is null'],
  ])('never takes the whole object in place of a key: %s', (document, message) =>
    expect(thrownError(() => keyOrWhole(document))).toMatchObject({
      code: 'KEY_NOT_FOUND',
      message,
    }),
  );

  test('gives for an object what the key gives', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.string()), fc.string(), (object, text) => {
        const document = JSON.stringify(object);
        for (const key of [...Object.keys(object), text])
          if (Object.hasOwn(object, key))
            expect(keyOrWhole(document, key)).toBe(extractKey(document, key));
          else expect(thrownError(() => keyOrWhole(document, key)).code).toBe('KEY_NOT_FOUND');
      }),
    );
  });
});

describe('a value', () => {
  test.each([
    ['"text"', 'text'],
    ['""', ''],
    ['"a\\nb\\u00e9"', 'a\nbé'],
    ['true', 'true'],
    ['false', 'false'],
    ['0', '0'],
    ['1.50', '1.50'],
    ['12345678901234567890', '12345678901234567890'],
    ['1E+400', '1E+400'],
    ['-0', '-0'],
    ['{ "b" : 1.0, "a" : [ 1e2, null, "x" ] }', '{"b":1.0,"a":[1e2,null,"x"]}'],
    ['[]', '[]'],
    ['{}', '{}'],
  ])('%s gives %s', (json, text) => {
    for (const read of [extractKey, search, extractKeyOrSearch])
      expect(read(`{"v": ${json}}`, 'v')).toBe(text);
    expect(search(`{"v": [${json}]}`, 'v[0]')).toBe(text);
  });

  test('that is null or missing is an error', () => {
    expect(thrownError(() => extractKey('{"v": null}', 'v'))).toMatchObject({
      code: 'KEY_NOT_FOUND',
      message: 'the key "v" of csms secret "db" is null',
    });
    expect(thrownError(() => extractKey('{"v": 1}', 'w'))).toMatchObject({
      code: 'KEY_NOT_FOUND',
      message: 'csms secret "db" has no key "w"',
      hint: 'check the spelling, letter case counts',
    });
    for (const expression of ['v', 'v.w', 'v[0]', 'max_by(l, &x)', 'avg(l)'])
      expect(thrownError(() => search('{"v": null, "l": []}', expression))).toMatchObject({
        code: 'KEY_NOT_FOUND',
        message: `the JMESPath "${expression}" finds nothing in csms secret "db"`,
      });
    expect(thrownError(() => extractKeyOrSearch('{"v": 1}', 'a-b')).message).toBe(
      'csms secret "db" has no key "a-b"',
    );
  });
});

describe('JMESPath', () => {
  const document = JSON.stringify({
    user: 'app',
    'pass-word': 'p',
    hosts: [
      { name: 'a', port: 443, tags: {} },
      { name: 'b', port: 80, tags: { x: 1 } },
    ],
  });
  test.each([
    ['"pass-word"', 'p'],
    ['hosts[0].name', 'a'],
    ['hosts[?port == `80`].name | [0]', 'b'],
    ['hosts[?port > `100`].name', '["a"]'],
    ['hosts[?tags].name', '["b"]'],
    ['hosts[0].tags || user', 'app'],
    ['!(hosts[0].tags)', 'true'],
    ["join(',', hosts[*].name)", 'a,b'],
    ['length(hosts)', '2'],
    ['sum(hosts[*].port)', '523'],
    ['{u: user, p: "pass-word"}', '{"u":"app","p":"p"}'],
    ['to_string(hosts[1].tags)', '{"x":1}'],
    ['keys(hosts[0])', '["name","port","tags"]'],
    ['merge(hosts[1].tags, `{"y": 2}`)', '{"x":1,"y":2}'],
  ])('%s', (expression, text) => expect(search(document, expression)).toBe(text));

  test('numbers keep their characters and can be ordered', () => {
    const prices = '{"l": [{"p": 1.50}, {"p": 2.50}]}';
    expect(search(prices, 'l[?p > `2`].p')).toBe('[2.50]');
    expect(search(prices, 'l[*].type(p)')).toBe('["number","number"]');
    expect(search(prices, 'sort_by(l, &p)[-1].p')).toBe('2.50');
  });

  test('fails where a number would lose digits', () => {
    for (const expression of ['to_string(n)', 'max([n, `1`])', 'n > `1`'])
      expect(thrownError(() => search('{"n": 12345678901234567890}', expression)).message).toBe(
        `the JMESPath "${expression}" cannot be applied to csms secret "db"`,
      );
  });

  test('shows the library’s message where it quotes no value', () =>
    expect(thrownError(() => search(document, 'length(hosts[0].port)'))).toMatchObject({
      code: 'INVALID_CLASS',
      message:
        'the JMESPath "length(hosts[0].port)" cannot be applied to csms secret "db": length() expected argument 1 to be type string,array,object but received type number instead.',
    }));

  test('reports an expression that is not valid', () =>
    expect(thrownError(() => search('{}', 'a-b'))).toMatchObject({
      code: 'INVALID_CLASS',
      message:
        'the JMESPath "a-b" is not JMESPath; a key with other characters than letters, digits and _ needs quotes: "a-b"',
    }));

  test.each([
    ['an endless flattening', `[@,@][]${' | [*].[@,@,@,@][]'.repeat(40)}`],
    ['an endless text', `[@]${' | [@,@,@,@,@,@]'.repeat(30)}`],
    ['texts of texts', `@${' | to_string([@,@,@,@])'.repeat(20)}`],
  ])('stops %s', (_, expression) => {
    const bytes = Buffer.from(JSON.stringify(Array(1_000).fill('x')));
    const before = process.cpuUsage();
    const error = thrownError(() =>
      createOpenSecret()(ref, { bytes })({ kind: 'jmespath', expression }),
    );
    const { user, system } = process.cpuUsage(before);
    expect(error).toMatchObject({
      code: 'INVALID_CLASS',
      message: expect.stringMatching(/longer than 50 ms$/),
    });
    // CPU time, which does not depend on the load of the machine; up to four attempts and the GC.
    expect((user + system) / 1_000).toBeLessThan(20 * 50);
  });

  test('subtracts the CPU time of an expression from the time of its volume', () => {
    const bytes = Buffer.from(JSON.stringify({ a: Array.from({ length: 10_000 }, String) }));
    const expression = '[a,a,a,a][].[@,@,@,@][].[@,@,@,@] | [0]';
    const time = { remainingMs: 200 };
    openSecret(ref, { bytes }, time)({ kind: 'jmespath', expression });
    expect(time.remainingMs).toBeLessThan(200);
  });

  test('evaluates no expression when the time of its volume is used up', () => {
    const extract = openSecret(ref, { bytes: Buffer.from('{"a":[1]}') }, { remainingMs: 0 });
    expect(thrownError(() => extract({ kind: 'jmespath', expression: 'a[0]' })).message).toBe(
      'the JMESPath expressions of the volume take longer than 200 ms together',
    );
    expect(Buffer.from(extract({ kind: 'jmespath', expression: 'a' })).toString()).toBe('[1]');
  });

  test('gives for plain keys what the library gives', () => {
    // With a pipe the library evaluates the expression; without it our own code does.
    const keys = fc
      .array(fc.constantFrom('a', 'b', '"a"', '"c-d"', 'constructor', '__proto__'), {
        minLength: 1,
        maxLength: 3,
      })
      .map((parts) => parts.join('.'));
    const leaf = fc.constantFrom('1', '"x"', 'null', '1.50', '[{"a":1}]', 'false');
    const { tree } = fc.letrec<{ tree: string }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc
          .array(fc.tuple(fc.constantFrom('a', 'b', 'c-d', '__proto__'), tie('tree')), {
            maxLength: 3,
          })
          .map((items) => `{${items.map(([k, v]) => `"${k}":${v}`).join(',')}}`),
      ),
    }));
    const outcome = (json: string, expression: string): string => {
      try {
        return search(json, expression);
      } catch (thrown) {
        return (thrown as SecretError).code;
      }
    };
    fc.assert(
      fc.property(tree, keys, (json, expression) =>
        expect(outcome(json, expression)).toBe(outcome(json, `${expression} | @`)),
      ),
    );
  });
});

describe('a secret that is not JSON', () => {
  test.each(['canary-4711', '', '{canary', '{"a": canary}', '\ud800', '['.repeat(100_000), '\0'])(
    '%#',
    (document) => {
      const error = thrownError(() => extractKey(document, 'a'));
      expect(error).toMatchObject({
        code: 'NOT_JSON',
        message: 'csms secret "db" is not JSON, so no key can be read from it',
      });
      expect(`${error.summary} ${String(error.cause)}`).not.toContain('canary');
    },
  );
  test('is reported when it is not UTF-8', () =>
    expect(
      thrownError(() => extractText(Buffer.from([0x22, 0xff, 0x22]), { kind: 'key', key: 'a' }))
        .code,
    ).toBe('NOT_JSON'));
  test('is reported when it is JSON but not an object', () =>
    expect(thrownError(() => extractKey('[1]', 'a')).message).toBe(
      'csms secret "db" is JSON, but not an object with keys',
    ));
});

test('keys are looked up in the document where a value has one', () => {
  const value = {
    bytes: Buffer.from('{"data":{"data":{"a":"envelope"}}}'),
    document: '{"a":"inner"}',
  };
  const extract = openSecret(ref, value);
  for (const selector of [
    { kind: 'key', key: 'a' },
    { kind: 'sole' },
    { kind: 'key-or-whole', key: 'a' },
  ] as const)
    expect(Buffer.from(extract(selector)).toString()).toBe('inner');
});

test('messages name the secret with its region', () => {
  const extract = openSecret({ ...ref, region: 'eu-west-1' }, { bytes: Buffer.from('{}') });
  expect(thrownError(() => extract({ kind: 'key', key: 'k' })).message).toBe(
    'csms secret "db" in eu-west-1 has no key "k"',
  );
});

describe('the remedy for what is not found', () => {
  const hintOf = (document: string, selector: Selector): string | undefined =>
    thrownError(() => extractText(document, selector)).hint;
  const path = (expression: string): Selector => ({ kind: 'jmespath', expression });

  test('names the quotes where the secret has the whole text as its key', () => {
    const document = '{"tls.crt": "canary"}';
    expect(hintOf(document, path('tls.crt'))).toBe(
      `the secret has a key of that name: write it in quotes, path: '"tls.crt"'`,
    );
  });

  test('names the key whose value is JSON in a text', () => {
    const hint = hintOf('{"db": "{\\"password\\": \\"canary\\"}"}', path('db.password'));
    expect(hint).toContain('the key "db" is text that holds JSON');
    expect(hint).not.toContain('canary');
  });

  test.each([
    ['data.password', 'write password'],
    ['"password"', 'write password'],
    ["'password'", 'write password'],
    ['db.host', 'a key is no path, and does not look inside another: read "db" alone'],
    ['data.other', 'check the spelling, letter case counts'],
    ['db', 'store a value under it, or read another key', '{"db": null}'],
  ])(
    'for the literal key %s',
    (key, hint, document = '{"password": "canary", "db": {"host": "canary"}}') => {
      expect(hintOf(document, { kind: 'key', key })).toBe(hint);
    },
  );

  test('says that what an expression finds is null', () => {
    for (const [document, expression] of [
      ['{"db": null}', 'db'],
      ['{"db": {"host": null}}', 'db.host'],
    ] as const)
      expect(hintOf(document, path(expression))).toBe(
        'it is null: store a value under it, or read another key',
      );
  });

  test.each<Selector>([
    { kind: 'key', key: '.password' },
    { kind: 'key-or-jmespath', text: '.password' },
  ])('leaves out the dot at the beginning: %j', (selector) => {
    expect(hintOf('{"password": "canary"}', selector)).toBe(
      'write it without the dot at the beginning: password',
    );
  });

  test.each([
    path('user.name'),
    path('other'),
    path('user[0]'),
    { kind: 'key', key: 'x' } as const,
  ])('is the spelling for %j', (selector) => {
    expect(hintOf('{"user": "{not JSON"}', selector)).toMatch(/^check the spelling/);
  });
});
