import type { Logger } from 'pino';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { type Settings, settingFlags } from '../config/settings.ts';
import { SecretError, fileProblemOf } from '../core/errors.ts';

const pemCertificate = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * Reads the certificates of `--ca-file`, each in PEM.
 * @throws SecretError NOT_CONFIGURED for a file without certificates, or with one that is not valid
 */
export async function readCaFile(file: string): Promise<readonly string[]> {
  const throwInvalid = (problem: string, cause?: unknown): never => {
    throw new SecretError('NOT_CONFIGURED', `--ca-file ${file} ${problem}`, {
      hint: 'give a PEM file with the certificates of the authorities to trust',
      cause,
    });
  };
  const text = await readFile(file, 'utf8').catch((cause: unknown) =>
    throwInvalid(`cannot be read: ${fileProblemOf(cause)}`, cause),
  );
  const certificates = text.match(pemCertificate) ?? [];
  if (certificates.length === 0) throwInvalid('has no certificate');
  for (const [index, pem] of certificates.entries()) {
    try {
      new X509Certificate(pem);
    } catch (cause) {
      throwInvalid(`has a certificate that cannot be read, number ${index + 1}`, cause);
    }
  }
  return certificates;
}

/**
 * Warns if `--providers-dir` names a directory that is not there. Keyferry creates it, but the
 * driver looks in the directory of its own setting, so a mistyped name gives no error anywhere.
 */
export function warnOfMissingDirectory(
  { providersDir }: Pick<Settings, 'providersDir'>,
  log: Pick<Logger, 'warn'>,
): void {
  const flag = settingFlags.find(({ long }) => long === '--providers-dir');
  if (providersDir === flag?.defaultValue || existsSync(providersDir)) return;
  log.warn(
    { providersDir },
    '--providers-dir does not exist and is created: check that the driver looks for its providers there',
  );
}
