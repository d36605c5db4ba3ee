import { X509Certificate } from 'node:crypto';
import * as z from 'zod';

const schema = z.object({ certificate: z.string() });

/**
 * When a certificate that was just issued ends, in milliseconds since the epoch: that of the field `certificate`, PEM or the base64 of DER, as the
 * engines `pki` and `pki_int` give it. Undefined where there is none to be read.
 * @param document JSON text
 */
export function endOfCertificate(document: string): number | undefined {
  const { success, data } = schema.safeParse(JSON.parse(document));
  if (!success) return undefined;
  const { certificate } = data;
  try {
    const isPem = certificate.includes('-----BEGIN');
    const { validTo } = new X509Certificate(isPem ? certificate : Buffer.from(certificate, 'base64'));
    const end = Date.parse(validTo);
    return Number.isNaN(end) ? undefined : end;
  } catch {
    return undefined;
  }
}
