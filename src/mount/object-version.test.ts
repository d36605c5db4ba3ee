import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { FileRequest, Selector } from '../core/plan.ts';
import type { SecretValue } from '../core/provider.ts';
import { objectVersion } from './render.ts';

const key = Buffer.alloc(32, 7);
const ref = { service: 'csms', name: 'db' };
const whole: Selector = { kind: 'whole' };
const bytes = Buffer.from('{"a":"x"}');

function version(
  selector: Selector,
  value: Partial<SecretValue>,
  request: Partial<FileRequest> = {},
  contents: Uint8Array = bytes,
): string {
  const file: FileRequest = {
    path: 'f',
    sources: { value: { ref, selector } },
    encoding: 'utf-8',
    ...request,
  };
  return objectVersion(file, selector, { bytes, ...value }, contents, key);
}

describe('a file’s version', () => {
  test('of a whole secret is the store’s version', () =>
    expect(version(whole, { version: 'v3' })).toBe('v3'));

  test.each<[string, Selector, Partial<FileRequest>, Partial<SecretValue>]>([
    ['an extracted key', { kind: 'key', key: 'a' }, {}, {}],
    ['an expression', { kind: 'jmespath', expression: 'a' }, {}, {}],
    ['either', { kind: 'key-or-jmespath', text: 'a' }, {}, {}],
    ['the sole value', { kind: 'sole' }, {}, {}],
    ['a key or the whole', { kind: 'key-or-whole', key: 'a' }, {}, {}],
    ['a whole secret decoded', whole, { encoding: 'base64' }, {}],
    ['a whole secret with a mode', whole, { mode: 0o600 }, {}],
    ['a number that can start again', whole, {}, { modified: '2026-11-01' }],
    ['another key', { kind: 'key', key: 'b' }, {}, {}],
    ['another mode', whole, { mode: 0 }, {}],
    ['another encoding', whole, { encoding: 'hex' }, {}],
    ['another time', whole, {}, { modified: '2026-11-02' }],
  ])('of %s has a suffix', (_, selector, request, value) => {
    const suffixed = version(selector, { version: 'v3', ...value }, request);
    expect(suffixed).toMatch(/^v3\+[0-9a-f]{8}$/);
    expect(version(selector, { version: 'v4', ...value }, request)).toBe(
      suffixed.replace('v3', 'v4'),
    );
  });

  test('has a different suffix for every selection, encoding, mode and time', () => {
    const texts = ['a', 'b', '', '["a"]', 'utf-8'];
    const selectors: Selector[] = [
      whole,
      { kind: 'sole' },
      ...texts.flatMap((text): Selector[] => [
        { kind: 'key', key: text },
        { kind: 'jmespath', expression: text },
        { kind: 'key-or-jmespath', text },
        { kind: 'key-or-whole', key: text },
      ]),
    ];
    const encodings = ['utf-8', 'base64', 'hex'] as const;
    const modes = [undefined, 0, 0o400, 0o600];
    const times = [undefined, '1', '2'];
    const all = selectors.flatMap((selector) =>
      encodings.flatMap((encoding) =>
        modes.flatMap((mode) =>
          times.map((modified) =>
            version(
              selector,
              { version: 'v1', ...(modified && { modified }) },
              { encoding, ...(mode !== undefined && { mode }) },
            ),
          ),
        ),
      ),
    );
    expect(new Set(all).size).toBe(all.length);
  });

  test('does not depend on the content if the store has versions', () =>
    expect(version({ kind: 'key', key: 'a' }, { version: 'v3' }, {}, Buffer.from('other'))).toBe(
      version({ kind: 'key', key: 'a' }, { version: 'v3' }),
    ));

  test('is a keyed hash of the content if the store has no versions', () => {
    const bare = version(whole, {});
    expect(bare).toMatch(/^[0-9a-f]{32}$/);
    expect(version({ kind: 'key', key: 'a' }, {})).toMatch(new RegExp(`^${bare}\\+[0-9a-f]{8}$`));
    expect(version(whole, {}, {}, Buffer.from('other'))).not.toBe(bare);
    const file: FileRequest = { path: 'f', sources: {}, encoding: 'utf-8' };
    expect(objectVersion(file, whole, { bytes }, bytes, Buffer.alloc(32, 8))).not.toBe(bare);
  });

  test('of an envelope is the keyed hash for the whole and the store’s version for a key', () => {
    const envelope = { version: '3', envelope: true };
    expect(version(whole, envelope)).toBe(version(whole, {}));
    expect(version({ kind: 'key', key: 'a' }, envelope)).toBe(
      version({ kind: 'key', key: 'a' }, { version: '3' }),
    );
  });

  test.each<Selector>([{ kind: 'sole' }, { kind: 'key-or-whole', key: 'a' }])(
    'of an envelope covers the bytes for %j, which may take the whole',
    (selector) => {
      const envelope = { version: '3', envelope: true };
      const other = version(selector, envelope, {}, Buffer.from('other'));
      expect(version(selector, envelope)).not.toBe(other);
      expect(other).toMatch(/^[0-9a-f]{32}\+[0-9a-f]{8}$/);
    },
  );

  test('without a store’s version changes exactly with the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4 }), fc.uint8Array({ maxLength: 4 }), (one, other) =>
        expect(version(whole, {}, {}, one) === version(whole, {}, {}, other)).toBe(
          Buffer.from(one).equals(other),
        ),
      ),
    );
  });
});
