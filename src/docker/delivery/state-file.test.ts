import { afterEach, beforeEach, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { StateDirectory } from './state-file.ts';

type Document = { readonly text: string };

let directory: string;
let lines: string[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kf-state-'));
  lines = [];
});
afterEach(() => rmSync(directory, { recursive: true }));

const open = (): StateDirectory<Document> =>
  new StateDirectory(directory, {
    decode: (json) => {
      const { text } = json as Document;
      if (typeof text !== 'string') throw new Error('not a document');
      return { text };
    },
    log: pino({}, { write: (line: string) => void lines.push(line) }),
  });

test('a document is read as it was saved last, by another process too', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string(), { minLength: 1, maxLength: 5 }), async (texts) => {
      for (const text of texts) await open().save('shop', { text });
      expect((await open().load()).get('shop')).toEqual({ text: texts.at(-1) });
      expect(readdirSync(directory)).toEqual(['shop.json']);
    }),
    { numRuns: 20 },
  );
  expect(statSync(join(directory, 'shop.json')).mode & 0o777).toBe(0o600);
});

test('a file with anything in it is never fatal: it is a document, or set aside', async () => {
  const content = fc.oneof(
    fc.string(),
    fc.json(),
    fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('latin1')),
    // Cut off by a crash.
    fc.nat(20).map((length) => '{"text":"0123456789"}'.slice(0, length)),
  );
  await fc.assert(
    fc.asyncProperty(content, async (text) => {
      rmSync(directory, { recursive: true });
      mkdirSync(directory);
      await open().save('good', { text: 'kept' });
      writeFileSync(join(directory, 'bad.json'), text);
      const documents = await open().load();
      expect(documents.get('good')).toEqual({ text: 'kept' });
      const isDocument = documents.has('bad');
      expect(readdirSync(directory).includes('bad.json.broken')).toBe(!isDocument);
    }),
    { numRuns: 100 },
  );
  expect(lines.length).toBeGreaterThan(0);
});
