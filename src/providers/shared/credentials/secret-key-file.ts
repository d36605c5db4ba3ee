import { readFile } from 'node:fs/promises';
import { SecretError, fileProblemOf } from '../../../core/errors.ts';
import type { StoreConfig } from '../../../core/host-store.ts';
import { Redacted } from '../../../core/redacted.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';

/**
 * The configuration with the secret key that its parameter `secret_key_file` names. A line break at
 * the end of the file is not part of the key.
 * @throws SecretError NOT_CONFIGURED
 */
export async function withSecretKey(config: StoreConfig): Promise<StoreConfig> {
  const { auth, type } = config;
  const file = auth?.params.get('secret_key_file');
  if (auth === undefined || file === undefined) return config;
  if (auth.credentials.has('secret_key'))
    throw new SecretError(
      'NOT_CONFIGURED',
      `${type}: secret_key and secret_key_file are both set`,
      {
        hint: 'remove secret_key from dso.yaml',
      },
    );
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new SecretError(
      'NOT_CONFIGURED',
      `${type}: the secret key cannot be read from ${sanitizeUserText(file)}: ${fileProblemOf(cause)}`,
      { hint: `give it again: docker dso init --provider ${type} --${type}-secret-key -`, cause },
    );
  });
  const key = new Redacted(text.replace(/\r?\n$/, ''));
  const credentials = new Map([...auth.credentials, ['secret_key', key] as const]);
  return { ...config, auth: { ...auth, credentials } };
}
