import { posix } from 'node:path';
import { SecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import { classEndpoint, parseEndpoint } from '../../../http/endpoint.ts';

const maxSocketPathLength = 107;

/** More would only make a mount that fails take longer. */
export const maxAddresses = 16;

/** The parts of a list with commas; empty ones are left out. */
export function splitList(text: string): readonly string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/**
 * An address out of the operator's settings in the form in which it is kept: `https://vault:8200`, `http://vault:8200`, `unix:///run/agent.sock`.
 * @throws SecretError NOT_CONFIGURED
 */
export function parseOperatorAddress(text: string, setting: string): string {
  if (!isSocket(text)) return parseEndpoint(text, { setting, allowHttp: true }).origin;
  if (isValidSocket(text)) return text;
  throw new SecretError('NOT_CONFIGURED', `${setting} ${sanitizeExternalText(text)} is no socket`, {
    hint: 'write unix:// and an absolute path',
  });
}

/**
 * An address out of a class, in the same form.
 * @param allowed what the operator configured or listed, as it is written there
 * @throws SecretError INVALID_CLASS for what is none, NOT_ALLOWED_FROM_CLASS for what is not allowed
 */
export function parseClassAddress(text: string, allowed: readonly string[]): string {
  if (!isSocket(text))
    return classEndpoint(
      text,
      allowed.filter((entry) => !isSocket(entry)),
    ).origin;
  if (!isValidSocket(text))
    throw new SecretError('INVALID_CLASS', `"${sanitizeExternalText(text)}" is no socket`, {
      hint: 'write unix:// and an absolute path',
    });
  if (allowed.includes(text)) return text;
  throw new SecretError(
    'NOT_ALLOWED_FROM_CLASS',
    `the socket ${sanitizeExternalText(text)} is not among those allowed to classes`,
  );
}

function isSocket(text: string): boolean {
  return text.startsWith('unix:');
}

function isValidSocket(text: string): boolean {
  const path = text.slice('unix://'.length);
  return (
    text.startsWith('unix:///') &&
    posix.normalize(path) === path &&
    !path.endsWith('/') &&
    Buffer.byteLength(path) <= maxSocketPathLength &&
    /^\P{C}+$/u.test(path)
  );
}
