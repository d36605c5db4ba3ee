import { codes } from '../errors/codes.ts';
import type { SecretError } from '../errors/secret-error.ts';
import { statusText } from '../errors/status-text.ts';
import type { Ending } from './grpc/unary-server.ts';

/** The status with which a failure leaves: always a final one (docs/adr/0002), its text one printable line. */
export function toStatus(error: SecretError): Ending {
  return { status: codes[error.code].grpc, text: statusText(error.event) };
}
