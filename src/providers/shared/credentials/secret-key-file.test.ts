import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StoreConfig } from '../../../core/host-store.ts';
import { Redacted } from '../../../core/redacted.ts';
import { withSecretKey } from './secret-key-file.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'keyferry-key-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function config(file: string, credentials: Readonly<Record<string, string>> = {}): StoreConfig {
  const secrets = Object.entries(credentials).map(
    ([name, value]) => [name, new Redacted(value)] as const,
  );
  return {
    type: 'huawei',
    auth: {
      method: 'access_key',
      params: new Map([
        ['access_key', 'AK'],
        ['secret_key_file', file],
      ]),
      credentials: new Map(secrets),
    },
  };
}

test.each(['SK', 'SK\n', 'SK\r\n'])('reads the secret key from a file: %j', async (text) => {
  const file = join(directory, 'key');
  writeFileSync(file, text);
  const { auth } = await withSecretKey(config(file));
  expect(auth?.credentials.get('secret_key')?.reveal()).toBe('SK');
  expect(auth?.params.get('access_key')).toBe('AK');
});

test('leaves a configuration without such a file as it is', async () => {
  const plain: StoreConfig = { type: 'huawei', region: 'cn-north-4' };
  expect(await withSecretKey(plain)).toBe(plain);
});

test('says how to give the key again if the file is not there', async () => {
  const file = join(directory, 'none');
  await expect(withSecretKey(config(file))).rejects.toMatchObject({
    code: 'NOT_CONFIGURED',
    message: `huawei: the secret key cannot be read from ${file}: no such file`,
    hint: 'give it again: docker dso init --provider huawei --huawei-secret-key -',
  });
});

test('refuses a second secret key', async () => {
  await expect(withSecretKey(config('/k', { secret_key: 'SK' }))).rejects.toThrow('both set');
});
