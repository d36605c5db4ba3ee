import { posix } from 'node:path';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { RawParameter } from '../../shared/class/parameters.ts';
import type { VaultTls } from '../types.ts';
import { type ClassReader, reportInvalid, reportNotAllowed } from './parameters.ts';

const maxFilePathLength = 4_096;

/**
 * Reads how Vault is authenticated: from the class, within what the operator allows, else from the
 * operator's settings.
 */
export function readTls(reader: ClassReader): VaultTls {
  const { caFile, caDirectory, certFile, keyFile, ...configured } = reader.nodeFacts?.tls ?? {};
  const skipVerify = readSkipVerify(reader) ?? configured.skipVerify;
  const serverName = readServerName(reader) ?? configured.serverName;
  return {
    ...(skipVerify === true && { skipVerify }),
    ...(readCertificateAuthorities(reader) ?? {
      ...(caFile && { caFile }),
      ...(caDirectory && { caDirectory }),
    }),
    ...(serverName !== undefined && { serverName }),
    ...(readClientCertificate(reader) ?? {
      ...(certFile && { certFile }),
      ...(keyFile && { keyFile }),
    }),
  };
}

/**
 * The authorities of a class replace the configured ones. A file wins over a directory, as with the
 * vendors' clients.
 */
function readCertificateAuthorities(
  reader: ClassReader,
): Pick<VaultTls, 'caFile' | 'caDirectory'> | undefined {
  const file = reader.getParameter('CACertPath');
  const directory = reader.getParameter('CADirectory');
  if (file !== undefined) return { caFile: readFile(reader, file) };
  return directory && { caDirectory: readFile(reader, directory) };
}

function readClientCertificate(
  reader: ClassReader,
): Pick<VaultTls, 'certFile' | 'keyFile'> | undefined {
  const cert = reader.getParameter('TLSClientCertPath');
  const key = reader.getParameter('TLSClientKeyPath');
  if (cert !== undefined && key !== undefined)
    return { certFile: readFile(reader, cert), keyFile: readFile(reader, key) };
  const unpaired = cert ?? key;
  if (unpaired !== undefined)
    reportInvalid(
      reader,
      unpaired,
      'is set alone',
      'a client certificate needs its key, and a key its certificate',
    );
  return undefined;
}

/**
 * A path on the node. The operator allows it, so that a class cannot make Keyferry read any other
 * file.
 */
function readFile(reader: ClassReader, parameter: RawParameter): string {
  const { text } = parameter;
  const { nodeFacts } = reader;
  if (!isCleanPath(text))
    reportInvalid(
      reader,
      parameter,
      `is not an absolute, clean path: ${sanitizeUserText(text)}`,
      'write it like /etc/vault/ca.crt',
    );
  else if (
    !isConfigured(text, nodeFacts?.tls) &&
    !nodeFacts?.allowedFiles.some((matches) => matches(text))
  )
    reportNotAllowed(reader, parameter, {
      problem: `names ${sanitizeUserText(text)}, which is not among the files allowed to classes`,
      operatorAction: 'list it, or its directory, in KEYFERRY_VAULT_ALLOWED_FILES',
      check: 'files named in the class, which the operator has to allow',
    });
  return text;
}

/** Whether a path is absolute, without `.`, `..` and doubled slashes. */
export function isCleanPath(text: string): boolean {
  const isClean = posix.normalize(text) === text && /^\P{C}+$/u.test(text);
  return isClean && text.startsWith('/') && text.length <= maxFilePathLength;
}

function isConfigured(path: string, tls: VaultTls = {}): boolean {
  return [tls.caFile, tls.caDirectory, tls.certFile, tls.keyFile].includes(path);
}

function readServerName(reader: ClassReader): string | undefined {
  const parameter = reader.getParameter('TLSServerName');
  if (parameter !== undefined && !isHostName(parameter.text))
    reportInvalid(
      reader,
      parameter,
      `is not a host name: ${sanitizeUserText(parameter.text)}`,
      'write the name that the certificate of Vault has',
    );
  return parameter?.text;
}

/** Whether a text has the form of a host name. */
export function isHostName(text: string): boolean {
  return /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(text);
}

function readSkipVerify(reader: ClassReader): boolean | undefined {
  const parameter = reader.getParameter('SkipTLSVerify');
  if (parameter === undefined) return undefined;
  const skipVerify = parseGoBoolean(parameter.text);
  const { nodeFacts } = reader;
  if (skipVerify === undefined)
    reportInvalid(
      reader,
      parameter,
      `is neither "true" nor "false": ${sanitizeUserText(parameter.text)}`,
      'leave it out',
    );
  else if (skipVerify && nodeFacts?.allowSkipVerify !== true && nodeFacts?.tls.skipVerify !== true)
    reportNotAllowed(reader, parameter, {
      problem: 'is not allowed to classes',
      operatorAction: 'set KEYFERRY_VAULT_ALLOW_SKIP_VERIFY=true',
      check: 'that TLS is not verified, which the operator has to allow',
    });
  return skipVerify;
}

/** Parses the words of Go's `strconv.ParseBool`, as the vendors' providers do. */
export function parseGoBoolean(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined;
}
