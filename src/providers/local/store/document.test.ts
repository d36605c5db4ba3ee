import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Redacted } from '../../../core/redacted.ts';
import { type StoreDocument, serializeDocument, parseDocument } from './document.ts';

const canary = 'canary-6f1d';
const version = {
  version: 'v1',
  created: '2026-01-02T03:04:05.000Z',
  value: canary,
  encoding: 'utf-8',
};
const file = (secrets: unknown): string => JSON.stringify({ format: 'keyferry-local/1', secrets });

function parse(text: string | Uint8Array): StoreDocument {
  return parseDocument(typeof text === 'string' ? Buffer.from(text) : text);
}

function plain(document: StoreDocument): unknown {
  return [...document]
    .sort()
    .map(([name, { last, versions }]) => [
      name,
      last,
      versions.map(({ version, created, bytes }) => [
        version,
        created,
        Buffer.from(bytes.reveal()).toString('hex'),
      ]),
    ]);
}

describe('the plaintext of a store', () => {
  test('is JSON that a person can read and write', () => {
    const document = parse(
      file({
        'eu/prod/db': {
          versions: [version, { ...version, version: 'v7', value: 'AP8=', encoding: 'base64' }],
        },
      }),
    );
    const secret = document.get('eu/prod/db');
    expect(secret?.last).toBe(7);
    expect(secret?.versions.map(({ bytes }) => Buffer.from(bytes.reveal()))).toEqual([
      Buffer.from(canary),
      Buffer.from([0, 255]),
    ]);
    expect(JSON.parse(Buffer.from(serializeDocument(document)).toString())).toEqual({
      format: 'keyferry-local/1',
      secrets: {
        'eu/prod/db': {
          last: 7,
          versions: [version, { ...version, version: 'v7', value: 'AP8=', encoding: 'base64' }],
        },
      },
    });
  });

  test('keeps every byte of every value', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 50 }),
      fc.string({ unit: 'binary', maxLength: 20 }).map((text) => new TextEncoder().encode(text)),
      fc.constant(Buffer.from('\ufeffwith a mark\r\n\0')),
    );
    const name = fc.stringMatching(
      /^[A-Za-z0-9][A-Za-z0-9._-]{0,5}(\/[a-z0-9][a-z._-]{0,3}){0,2}$/,
    );
    const secret = fc.record({
      values: fc.array(bytes, { maxLength: 3 }),
      last: fc.nat({ max: 1_000 }),
    });
    fc.assert(
      fc.property(fc.dictionary(name, secret, { maxKeys: 5 }), (secrets) => {
        const document: StoreDocument = new Map(
          Object.entries(secrets).map(([name, { values, last }]) => [
            name,
            {
              last: Math.max(last, values.length),
              versions: values.map((value, index) => ({
                version: `v${index + 1}`,
                created: version.created,
                bytes: new Redacted(value),
              })),
            },
          ]),
        );
        expect(plain(parse(serializeDocument(document)))).toEqual(plain(document));
      }),
    );
  });

  test("takes the names of an object's own properties as secret names", () => {
    const document = parse(
      file({ constructor: { versions: [version] }, toString: { versions: [] } }),
    );
    expect([...document.keys()]).toEqual(['constructor', 'toString']);
    expect(parse(serializeDocument(document)).get('constructor')?.versions).toHaveLength(1);
  });

  test.each([
    ['', 'it is not JSON'],
    [`{"format": ${canary}`, 'it is not JSON'],
    [Buffer.from([0x22, 0xff, 0x22]), 'it is not JSON'],
    [`"${canary}"`, 'it is not marked as "keyferry-local/1"'],
    ['null', 'it is not marked as "keyferry-local/1"'],
    [`{"format":"${canary}"}`, 'it is not marked as "keyferry-local/1"'],
    ['{"format":"keyferry-local/1"}', 'at secrets'],
    [file(null), 'at secrets'],
    [file([version]), 'at secrets'],
    [file({ a: { versions: [version], [canary.slice(0, 6)]: 1 } }), 'at secrets.a.canary'],
    [
      file({ a: { versions: [{ ...version, version: canary }] } }),
      'at secrets.a.versions.0.version',
    ],
    [
      file({ a: { versions: [{ ...version, created: canary }] } }),
      'at secrets.a.versions.0.created',
    ],
    [
      file({ a: { versions: [{ ...version, encoding: canary }] } }),
      'at secrets.a.versions.0.encoding',
    ],
    [file({ a: { versions: [{ ...version, encoding: 'base64' }] } }), 'at secrets.a.versions.0'],
    [file({ a: { versions: [version, version] } }), 'at secrets.a'],
    [file({ a: { versions: [version], last: -1 } }), 'at secrets.a.last'],
    [file({ '../x': { versions: [version] } }), 'the name "../x" may hold only'],
    [file({ '': { versions: [version] } }), 'the name "" is empty'],
    [
      '{"format":"keyferry-local/1","secrets":{"__proto__":{"versions":[]}}}',
      'the name "__proto__" may hold only',
    ],
  ])('rejects %j, without quoting it', (text, message) => {
    let shown = '';
    try {
      parse(text);
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: 'LOCAL_STORE_UNREADABLE' });
      shown = JSON.stringify([(thrown as Error).message, String((thrown as Error).cause)]);
    }
    expect(JSON.parse(shown || '[]')[0]).toContain(message);
    expect(shown).not.toContain(canary);
  });

  test('reports a newer format, which is not a damaged file', () => {
    expect(() => parse('{"format":"keyferry-local/2","secrets":7}')).toThrow(
      'the local store has the format keyferry-local/2, this Keyferry reads keyferry-local/1',
    );
  });
});
