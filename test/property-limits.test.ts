import { expect, test } from '@jest/globals';
import fc from 'fast-check';

test('a property whose run does not end is stopped before the time-out of its test', async () => {
  const endless = fc.asyncProperty(fc.nat(), () => new Promise<void>(() => undefined));
  expect(await fc.check(endless)).toMatchObject({ interrupted: true, numRuns: 0 });
});
