import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import { classEndpoint } from '../../http/endpoint.ts';
import { compileNameGlob, type NameGlob } from '../name-glob.ts';
import { operatorAddress, splitList } from './address.ts';
import type { SettingReader } from './setting-reader.ts';
import { isCleanPath } from './tls-parameters.ts';

/**
 * `ALLOWED_ADDRESSES`: what classes may name beside the configured addresses. Entries are looked at now, with any address, so that a faulty one
 * stops the start and not a mount.
 * @throws SecretError NOT_CONFIGURED
 */
export function readAllowedAddresses({ own, faulty }: SettingReader): readonly string[] {
  const setting = own('ALLOWED_ADDRESSES');
  if (setting === undefined) return [];
  const entries = splitList(setting.text);
  for (const entry of entries) {
    if (isEntry(entry)) continue;
    const message = `has an entry that is no address: ${quoteForeign(entry)}`;
    throw faulty(setting.name, message, 'write host:port, http://host:port, *.domain or unix:///path');
  }
  return entries;
}

function isEntry(entry: string): boolean {
  try {
    if (entry.startsWith('unix:')) operatorAddress(entry, '');
    else classEndpoint('vault.invalid', [entry]);
    return true;
  } catch (thrown) {
    return thrown instanceof SecretError && thrown.code !== 'NOT_CONFIGURED';
  }
}

/**
 * `ALLOWED_FILES`: files that classes may name, and directories with all below; `*` stops at `/`, `**` does not.
 * @throws SecretError NOT_CONFIGURED
 */
export function readAllowedFiles({ own, faulty }: SettingReader): readonly NameGlob[] {
  const setting = own('ALLOWED_FILES');
  if (setting === undefined) return [];
  return splitList(setting.text).flatMap((entry) => {
    const path = entry.replace(/\/+$/, '');
    if (isCleanPath(path)) return [path, `${path}/**`].map(compileNameGlob);
    throw faulty(setting.name, `has an entry that is no absolute, clean path: ${quoteForeign(entry)}`);
  });
}
