import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { retryAfterOf } from './response.ts';

const now = Date.parse('2026-11-22T03:00:00Z');

test.each([
  [{}, undefined],
  [{ 'retry-after': '' }, undefined],
  [{ 'retry-after': '2' }, 2_000],
  [{ 'retry-after': ' 0 ' }, 0],
  [{ 'retry-after': '1.5' }, undefined],
  [{ 'retry-after': '-1' }, undefined],
  [{ 'retry-after': '99999999999' }, undefined],
  [{ 'retry-after': 'Sun, 22 Nov 2026 03:00:05 GMT' }, 5_000],
  [{ 'retry-after': 'Sunday, 22-Nov-26 03:00:05 GMT' }, 5_000],
  [{ 'retry-after': 'Sun, 22 Nov 2026 02:59:00 GMT' }, 0],
  [{ 'retry-after': '2026' }, 2_026_000],
  [{ 'retry-after': 'soon' }, undefined],
  [{ 'x-acs-retry-after': '250' }, 250],
  [{ 'x-acs-retry-after': 'x', 'retry-after': '1' }, 1_000],
])('%j requests a pause of %j ms', (headers: Record<string, string>, expected) => {
  expect(retryAfterOf(headers, now)).toBe(expected);
});

test('any header gives a pause of 0 or more, or none', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const pause = retryAfterOf({ 'retry-after': text }, now);
      expect(pause === undefined || (Number.isFinite(pause) && pause >= 0)).toBe(true);
    }),
  );
});
