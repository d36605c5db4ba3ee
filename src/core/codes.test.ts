import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { codes } from './errors.ts';

test('docs/errors.md has a paragraph with the status of every code, and no other paragraph', () => {
  const page = readFileSync('docs/errors.md', 'utf8');
  const paragraphs = [...page.matchAll(/^### ([A-Z_]+)\ngRPC `([A-Z_]+)`\. \S/gm)].map(
    ([, code, grpc]) => [code, grpc],
  );
  const expected = Object.entries(codes).map(([code, { grpc }]) => [code, grpc]);
  expect(paragraphs.sort()).toEqual(expected.sort());
});
