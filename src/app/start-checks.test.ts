import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTestCa } from '../../test/fakes/tls.ts';
import { readCaFile, warnOfMissingDirectory } from './start-checks.ts';

let directory: string;
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'keyferry-start-'))));
afterEach(() => rmSync(directory, { recursive: true }));

describe('--ca-file', () => {
  const [first, second] = [createTestCa('first').cert, createTestCa('second').cert];
  const read = (text: string): Promise<readonly string[]> => {
    const file = join(directory, 'ca.pem');
    writeFileSync(file, text);
    return readCaFile(file);
  };

  test('gives each certificate, whatever stands between them', async () => {
    const certificates = await read(`# first\n${first}\n# second\n${second}`);
    expect(certificates.map((pem) => pem.trim())).toEqual([first.trim(), second.trim()]);
  });

  test.each([
    ['is empty', '', 'has no certificate'],
    ['has a key', '-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----', 'no certificate'],
    ['is a page', '<html>sign in</html>', 'has no certificate'],
    ['is cut off', first.slice(0, 200), 'has no certificate'],
    [
      'has a second one that is damaged',
      `${first}\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----`,
      'cannot be read, number 2',
    ],
  ])('that %s stops the start', async (_, text, problem) => {
    await expect(read(text)).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: expect.stringContaining(problem),
      hint: expect.stringContaining('PEM'),
    });
  });

  test('that is not there stops the start', async () => {
    await expect(readCaFile(join(directory, 'none'))).rejects.toThrow(
      'cannot be read: no such file',
    );
  });
});

describe('--providers-dir', () => {
  const warnings = (providersDir: string): unknown[] => {
    const seen: unknown[] = [];
    warnOfMissingDirectory(
      { providersDir },
      { warn: (...args: unknown[]) => void seen.push(args) },
    );
    return seen;
  };

  test('that is not there causes a warning', () => {
    const providersDir = join(directory, 'provider');
    expect(warnings(providersDir)).toEqual([
      [{ providersDir }, expect.stringContaining('check that the driver looks')],
    ]);
  });

  test('that is there, or is the default, causes none', () => {
    expect(warnings(directory)).toEqual([]);
    expect(warnings('/var/run/secrets-store-csi-providers')).toEqual([]);
  });
});
