import { posix } from 'node:path';
import { SecretError } from '../../../core/errors.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { classEndpoint, parseEndpoint } from '../../../http/endpoint.ts';
import type { RawParameter } from '../../shared/class/parameters.ts';
import type { VaultLogin } from '../types.ts';
import { type ClassReader, hasErrorCode, reportInvalid, reportNotAllowed } from './parameters.ts';
import { readTls } from './tls.ts';

const maxSocketPathLength = 107;

/** More addresses only make a mount that fails slower. */
export const maxAddresses = 16;

/** Splits a list at its commas, and leaves out empty parts. */
export function splitList(text: string): readonly string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/**
 * Parses an address of the operator's settings into its canonical form: `https://vault:8200`,
 * `http://vault:8200`, `unix:///run/agent.sock`.
 * @throws SecretError NOT_CONFIGURED
 */
export function parseOperatorAddress(text: string, setting: string): string {
  if (!isSocket(text)) return parseEndpoint(text, { setting, allowHttp: true }).origin;
  if (isValidSocket(text)) return text;
  throw new SecretError('NOT_CONFIGURED', `${setting} ${sanitizeUserText(text)} is not a socket`, {
    hint: 'write unix:// and an absolute path',
  });
}

/**
 * Parses an address of a class into its canonical form.
 * @param allowed the addresses that the operator configured or listed, as written
 * @throws SecretError INVALID_CLASS, NOT_ALLOWED_FROM_CLASS
 */
export function parseClassAddress(text: string, allowed: readonly string[]): string {
  if (!isSocket(text))
    return classEndpoint(
      text,
      allowed.filter((entry) => !isSocket(entry)),
    ).origin;
  if (!isValidSocket(text))
    throw new SecretError('INVALID_CLASS', `"${sanitizeUserText(text)}" is not a socket`, {
      hint: 'write unix:// and an absolute path',
    });
  if (allowed.includes(text)) return text;
  throw new SecretError(
    'NOT_ALLOWED_FROM_CLASS',
    `the socket ${sanitizeUserText(text)} is not among those allowed to classes`,
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

/** Reads where Vault is and how to connect: from the class, else from the operator's settings. */
export function readConnection(
  reader: ClassReader,
): Pick<VaultLogin, 'addresses' | 'namespace' | 'tls'> {
  const namespace = readNamespace(reader);
  return {
    addresses: readAddresses(reader),
    ...(namespace !== undefined && { namespace }),
    tls: readTls(reader),
  };
}

function readAddresses(reader: ClassReader): readonly string[] {
  const { getParameter, nodeFacts, report, skip } = reader;
  const address = getParameter('Address');
  if (address === undefined) {
    if (nodeFacts === undefined) skip('the address of Vault, which the class leaves to Keyferry');
    else if (nodeFacts.addresses.length === 0)
      report({
        severity: 'error',
        code: 'NOT_CONFIGURED',
        message: 'the class names no address of Vault, and Keyferry is configured with none',
        hint: 'set vaultAddress in the class, or VAULT_ADDR in the DaemonSet of Keyferry',
      });
    return nodeFacts?.addresses ?? [];
  }
  const texts = splitList(address.text);
  if (texts.length === 0 || texts.length > maxAddresses) {
    reportInvalid(
      reader,
      address,
      `has ${texts.length} addresses`,
      `list 1 to ${maxAddresses}, separated by commas`,
    );
    return [];
  }
  return [...new Set(texts.map((text) => readAddress(reader, address, text)))];
}

function readAddress(reader: ClassReader, parameter: RawParameter, text: string): string {
  try {
    return parseClassAddress(text, reader.nodeFacts?.allowedAddresses ?? []);
  } catch (thrown) {
    if (hasErrorCode(thrown, 'INVALID_CLASS')) {
      reportInvalid(
        reader,
        parameter,
        `: ${thrown.message}`,
        thrown.hint ?? 'write https://vault.example:8200',
      );
      return '';
    }
    if (!hasErrorCode(thrown, 'NOT_ALLOWED_FROM_CLASS')) throw thrown;
    reportNotAllowed(reader, parameter, {
      problem: `: ${thrown.message}`,
      operatorAction: `list it in KEYFERRY_VAULT_ALLOWED_ADDRESSES, with ${text.startsWith('http:') ? 'http:// and ' : ''}its port`,
      check: 'an address of Vault in the class, which the operator has to allow',
    });
    // Only offline, where the address can still be used. Elsewhere the class has failed.
    return text.startsWith('unix:') ? text : parseEndpoint(text, { allowHttp: true }).origin;
  }
}

/**
 * Not limited by an allow-list: with a workload's own identity Vault decides in every namespace.
 */
function readNamespace(reader: ClassReader): string | undefined {
  const parameter = reader.getParameter('Namespace');
  if (parameter === undefined) return reader.nodeFacts?.namespace;
  const namespace = normalizeNamespace(parameter.text);
  if (namespace === undefined)
    reportInvalid(
      reader,
      parameter,
      `is not a namespace: ${sanitizeUserText(parameter.text)}`,
      'write it like team-a/shop',
    );
  return namespace;
}

/** Strips the slashes at the ends of a namespace. @returns undefined for what is not a namespace */
export function normalizeNamespace(text: string): string | undefined {
  const namespace = text.replace(/^\/+|\/+$/g, '');
  return /^[\x21-\x7e]{1,512}$/.test(namespace) ? namespace : undefined;
}
