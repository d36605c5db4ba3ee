import { X509Certificate } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { SecretError } from '../../core/errors.ts';

/**
 * Reads the certificates of a directory, such as a mounted ConfigMap: PEM files with one or more
 * certificates. It skips names that begin with a dot. It runs when the process starts, so that a
 * bad file stops the start and not the first mount.
 * @param setting the variable that names the directory, for messages
 * @throws SecretError NOT_CONFIGURED
 */
export function readGatewayCa(setting: string, directory: string): readonly string[] {
  const caError = (reason: string): SecretError =>
    new SecretError('NOT_CONFIGURED', `alibabacloud: ${setting}: ${reason}`, {
      hint: 'mount a directory of PEM files, such as a ConfigMap',
    });
  const files = listFiles(directory);
  if (files === undefined) throw caError(`${directory} cannot be read`);
  const certificates = files.flatMap((path) => {
    const blocks = readFileSync(path, 'utf8').match(
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g,
    );
    if (blocks === null) throw caError(`${path} holds no certificate`);
    if (!blocks.every(isCertificate))
      throw caError(`${path} holds a certificate that cannot be read`);
    return blocks;
  });
  if (certificates.length === 0) throw caError(`${directory} holds no certificate`);
  return certificates;
}

/** Undefined if the directory cannot be read. */
function listFiles(directory: string): readonly string[] | undefined {
  try {
    return readdirSync(directory)
      .filter((name) => !name.startsWith('.'))
      .sort()
      .map((name) => join(directory, name))
      .filter((path) => statSync(path).isFile());
  } catch {
    return undefined;
  }
}

function isCertificate(pem: string): boolean {
  try {
    new X509Certificate(pem);
    return true;
  } catch {
    return false;
  }
}
