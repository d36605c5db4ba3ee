import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { SecretError } from '../../errors/secret-error.ts';

/**
 * The certificates in a directory, PEM, one or more a file, as a mounted ConfigMap has them; what begins with a dot is passed over. Looked at when
 * the process starts, so that a wrong file stops it and not the first mount.
 * @param setting the variable that names the directory, for messages
 * @throws SecretError NOT_CONFIGURED
 */
export function readGatewayCa(setting: string, directory: string): readonly string[] {
  const refuse = (why: string): never => {
    throw new SecretError('NOT_CONFIGURED', `alibabacloud: ${setting}: ${why}`, {
      hint: 'mount a directory of PEM files, such as a ConfigMap',
    });
  };
  const list = (): string[] => {
    try {
      return readdirSync(directory)
        .filter((name) => !name.startsWith('.') && statSync(join(directory, name)).isFile())
        .sort();
    } catch {
      return refuse(`${directory} cannot be read`);
    }
  };
  const certificates = list().flatMap((name) => {
    const path = join(directory, name);
    const blocks = readFileSync(path, 'utf8').match(
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g,
    );
    if (blocks === null) return refuse(`${path} holds no certificate`);
    if (!blocks.every(isCertificate)) return refuse(`${path} holds a certificate that cannot be read`);
    return blocks;
  });
  return certificates.length > 0 ? certificates : refuse(`${directory} holds no certificate`);
}

function isCertificate(pem: string): boolean {
  try {
    new X509Certificate(pem);
    return true;
  } catch {
    return false;
  }
}
