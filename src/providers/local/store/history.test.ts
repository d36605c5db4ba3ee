import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { StoreDocument } from './document.ts';
import { addVersion, findVersion, maxVersions, maxValueBytes, removeVersions } from './history.ts';

const empty: StoreDocument = new Map();
const bytes = (text: string): Uint8Array => Buffer.from(text);
const set = (document: StoreDocument, name: string, value: string): StoreDocument =>
  addVersion(document, name, bytes(value), '2026-01-01T00:00:00.000Z').document;
const get = (document: StoreDocument, name: string, version?: string): string =>
  Buffer.from(findVersion(document, name, version).bytes.reveal()).toString();

describe('the versions of a secret', () => {
  test('count from v1, and the latest is the default', () => {
    const document = set(set(set(empty, 'a', 'one'), 'a', 'two'), 'b', 'other');
    expect(get(document, 'a')).toBe('two');
    expect(get(document, 'a', 'v1')).toBe('one');
    expect(get(document, 'b', 'v1')).toBe('other');
  });

  test('do not change when the same value is set again', () => {
    const document = set(empty, 'a', 'one');
    expect(addVersion(document, 'a', bytes('one'), '')).toMatchObject({
      document,
      version: 'v1',
      unchanged: true,
    });
    expect(get(set(set(document, 'a', 'two'), 'a', 'one'), 'a', 'v3')).toBe('one');
  });

  test(`are kept up to ${maxVersions}; addVersion reports the dropped ones`, () => {
    let document = empty;
    for (let value = 1; value <= maxVersions; value += 1) document = set(document, 'a', `${value}`);
    const added = addVersion(document, 'a', bytes('more'), '');
    expect(added).toMatchObject({ version: 'v11', dropped: ['v1'] });
    expect(() => findVersion(added.document, 'a', 'v1')).toThrow(
      'the local store has no version v1 of a',
    );
  });

  test('never use a number twice, also after a removal', () => {
    const stepsArbitrary = fc.array(
      fc.oneof(fc.constant('set'), fc.constant('rm'), fc.nat({ max: 12 })),
      {
        maxLength: 40,
      },
    );
    fc.assert(
      fc.property(stepsArbitrary, (steps) => {
        let document = empty;
        const assignedVersions: string[] = [];
        for (const [index, step] of steps.entries()) {
          if (step === 'set') {
            const added = addVersion(document, 'a', bytes(`${index}`), '');
            document = added.document;
            assignedVersions.push(added.version);
          } else {
            try {
              document = removeVersions(document, 'a', step === 'rm' ? undefined : `v${step}`);
            } catch (thrown) {
              expect(thrown).toMatchObject({ code: 'OBJECT_NOT_FOUND' });
            }
          }
        }
        expect(assignedVersions).toEqual(assignedVersions.map((_, index) => `v${index + 1}`));
      }),
    );
  });

  test('are listed in the error for a missing version', () => {
    const document = set(set(empty, 'a', 'x'), 'a', 'y');
    expect(() => findVersion(document, 'a', 'v9')).toThrow(
      expect.objectContaining({
        code: 'OBJECT_NOT_FOUND',
        hint: expect.stringContaining('it has v1, v2'),
      }),
    );
    expect(() => findVersion(document, 'b')).toThrow(
      expect.objectContaining({
        code: 'OBJECT_NOT_FOUND',
        hint: '`keyferry local list` has the names, `keyferry local set b` makes it',
      }),
    );
    expect(() => removeVersions(removeVersions(document, 'a'), 'a')).toThrow(
      'the local store has no secret a',
    );
  });
});

describe('a value or name that the store does not take', () => {
  test.each([
    '',
    '../x',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    'a/..',
    '.a',
    '-a',
    '__proto__',
    'a b',
    'a\n',
    'ключ',
    'a'.repeat(513),
    'a'.repeat(256),
  ])('name %j', (name) => {
    expect(() => addVersion(empty, name, bytes('x'), '')).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    );
  });

  test.each(['a', 'eu/prod/db', 'A.b_c-d', '0', 'constructor', 'a/v1/x.json', 'a..b'])(
    'name %j is valid',
    (name) => {
      expect(get(set(empty, name, 'x'), name)).toBe('x');
    },
  );

  test('an empty value, or one above 1 MiB', () => {
    expect(() => addVersion(empty, 'a', bytes(''), '')).toThrow('no value was given for a');
    expect(() => addVersion(empty, 'a', Buffer.alloc(maxValueBytes + 1), '')).toThrow(
      'is larger than 1024 KiB',
    );
    expect(addVersion(empty, 'a', Buffer.alloc(maxValueBytes), '').version).toBe('v1');
  });
});
