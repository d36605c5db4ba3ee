import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { codes } from './errors.ts';

test('every code has its paragraph in docs/errors.md, with its status, and no paragraph is left over', () => {
  const page = readFileSync('docs/errors.md', 'utf8');
  const paragraphs = [...page.matchAll(/^### ([A-Z_]+)\ngRPC `([A-Z_]+)`\. \S/gm)].map(
    ([, code, grpc]) => [code, grpc],
  );
  const expected = Object.entries(codes).map(([code, { grpc }]) => [code, grpc]);
  expect(paragraphs.sort()).toEqual(expected.sort());
});
