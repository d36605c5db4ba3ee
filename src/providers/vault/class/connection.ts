import { posix } from 'node:path';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import { parseEndpoint } from '../../../http/endpoint.ts';
import type { RawParameter } from '../../shared/class/parameters.ts';
import type { VaultLogin, VaultTls } from '../types.ts';
import { parseClassAddress, maxAddresses, splitList } from './address.ts';
import { type ClassReader, hasErrorCode, reportInvalid, reportNotAllowed } from './parameters.ts';

const maxFilePathLength = 4_096;

/** How a class's Vault is to be known: what the class says within what the operator allows, for the rest what the operator configured. */
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

/** Those of a class replace the configured ones; a file wins over a directory, as it does for the vendors' clients. */
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
      'stands alone',
      'a client certificate needs its key, and a key its certificate',
    );
  return undefined;
}

/** A path on the node: the operator's, so that no class can have any file read that Keyferry may read. */
function readFile(reader: ClassReader, parameter: RawParameter): string {
  const { text } = parameter;
  const { nodeFacts } = reader;
  if (!isCleanPath(text))
    reportInvalid(
      reader,
      parameter,
      `is no absolute, clean path: ${sanitizeExternalText(text)}`,
      'write it like /etc/vault/ca.crt',
    );
  else if (
    !isConfigured(text, nodeFacts?.tls) &&
    !nodeFacts?.allowedFiles.some((matches) => matches(text))
  )
    reportNotAllowed(reader, parameter, {
      problem: `names ${sanitizeExternalText(text)}, which is not among the files allowed to classes`,
      operatorAction: 'list it, or its directory, in KEYFERRY_VAULT_ALLOWED_FILES',
      check: 'files named in the class, which the operator has to allow',
    });
  return text;
}

/** Whether a path leads where it says: absolute, without `.`, `..` and doubled slashes. */
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
      `is no host name: ${sanitizeExternalText(parameter.text)}`,
      'write the name that stands in the certificate of Vault',
    );
  return parameter?.text;
}

/** Whether a text has the form of a host's name. */
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
      `is neither "true" nor "false": ${sanitizeExternalText(parameter.text)}`,
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

/** The words of Go's `strconv.ParseBool`, which the vendors' providers take. */
export function parseGoBoolean(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined;
}

/** Where a class's Vault is and how it is reached: what the class says, for the rest what the operator configured. */
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
    // Of use offline alone: here the class has failed.
    return text.startsWith('unix:') ? text : parseEndpoint(text, { allowHttp: true }).origin;
  }
}

/** Free: with an identity of the workload's own Vault decides there as everywhere. */
function readNamespace(reader: ClassReader): string | undefined {
  const parameter = reader.getParameter('Namespace');
  if (parameter === undefined) return reader.nodeFacts?.namespace;
  const namespace = normalizeNamespace(parameter.text);
  if (namespace === undefined)
    reportInvalid(
      reader,
      parameter,
      `is no namespace: ${sanitizeExternalText(parameter.text)}`,
      'write it like team-a/shop',
    );
  return namespace;
}

/** Without slashes at its ends, like all that mean one namespace; `undefined` for what cannot be one. */
export function normalizeNamespace(text: string): string | undefined {
  const namespace = text.replace(/^\/+|\/+$/g, '');
  return /^[\x21-\x7e]{1,512}$/.test(namespace) ? namespace : undefined;
}
