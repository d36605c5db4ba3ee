import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { join } from 'node:path';
import { isVolumeName, volumeNames } from '../model/volumes.ts';

test('every volume of an application has a valid name', () => {
  const project = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,99}$/);
  const service = fc.stringMatching(/^[a-zA-Z0-9._-]{1,100}$/);
  fc.assert(
    fc.property(project, service, (projectName, serviceName) => {
      const { variables, files } = volumeNames(projectName, serviceName);
      expect([variables, files].map(isVolumeName)).toEqual([true, true]);
      // A directory, and a file with a suffix.
      expect(Buffer.byteLength(`${files}.json.0123456789ab.tmp`)).toBeLessThanOrEqual(255);
    }),
  );
});

test('a valid name is one element of a path, and begins with no dot', () => {
  const hostile = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc
      .array(
        fc.constantFrom('dso_', 'dsofiles_', 'a', '.', '..', '/', '\0', '\n', '_', '%2f', 'A'),
        {
          maxLength: 12,
        },
      )
      .map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(hostile, (name) => {
      if (!isVolumeName(name)) return;
      expect(join('/volumes', name)).toBe(`/volumes/${name}`);
      expect(name).toMatch(/^dso[^/\0\n]*$/);
    }),
    { numRuns: 2_000 },
  );
});
