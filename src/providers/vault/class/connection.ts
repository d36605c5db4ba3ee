import { posix } from 'node:path';
import { quoteForeign } from '../../../core/safe-text.ts';
import { parseEndpoint } from '../../../http/endpoint.ts';
import type { GivenParameter } from '../../shared/class/parameters.ts';
import type { VaultLogin, VaultTls } from '../types.ts';
import { classAddress, maxAddresses, splitList } from './address.ts';
import { type ClassReader, isCode, refuse, refuseUnallowed } from './reader.ts';

const longestFile = 4_096;

/** How a class's Vault is to be known: what the class says within what the operator allows, for the rest what the operator configured. */
export function readTls(reader: ClassReader): VaultTls {
  const { caFile, caDirectory, certFile, keyFile, ...configured } = reader.facts?.tls ?? {};
  const skipVerify = readSkipVerify(reader) ?? configured.skipVerify;
  const serverName = readServerName(reader) ?? configured.serverName;
  return {
    ...(skipVerify === true && { skipVerify }),
    ...(readAuthorities(reader) ?? { ...(caFile && { caFile }), ...(caDirectory && { caDirectory }) }),
    ...(serverName !== undefined && { serverName }),
    ...(readClientCertificate(reader) ?? { ...(certFile && { certFile }), ...(keyFile && { keyFile }) }),
  };
}

/** Those of a class replace the configured ones; a file wins over a directory, as it does for the vendors' clients. */
function readAuthorities(reader: ClassReader): Pick<VaultTls, 'caFile' | 'caDirectory'> | undefined {
  const file = reader.given('CACertPath');
  const directory = reader.given('CADirectory');
  if (file !== undefined) return { caFile: readFile(reader, file) };
  return directory && { caDirectory: readFile(reader, directory) };
}

function readClientCertificate(reader: ClassReader): Pick<VaultTls, 'certFile' | 'keyFile'> | undefined {
  const cert = reader.given('TLSClientCertPath');
  const key = reader.given('TLSClientKeyPath');
  if (cert !== undefined && key !== undefined)
    return { certFile: readFile(reader, cert), keyFile: readFile(reader, key) };
  const alone = cert ?? key;
  if (alone !== undefined)
    refuse(reader, alone, 'stands alone', 'a client certificate needs its key, and a key its certificate');
  return undefined;
}

/** A path on the node: the operator's, so that no class can have any file read that Keyferry may read. */
function readFile(reader: ClassReader, given: GivenParameter): string {
  const { text } = given;
  const { facts } = reader;
  if (!isCleanPath(text))
    refuse(
      reader,
      given,
      `is no absolute, clean path: ${quoteForeign(text)}`,
      'write it like /etc/vault/ca.crt',
    );
  else if (!isConfigured(text, facts?.tls) && !facts?.allowedFiles.some((allows) => allows(text)))
    refuseUnallowed(reader, given, {
      fault: `names ${quoteForeign(text)}, which is not among the files allowed to classes`,
      toDo: 'list it, or its directory, in KEYFERRY_VAULT_ALLOWED_FILES',
      check: 'files named in the class, which the operator has to allow',
    });
  return text;
}

/** Whether a path leads where it says: absolute, without `.`, `..` and doubled slashes. */
export function isCleanPath(text: string): boolean {
  const isClean = posix.normalize(text) === text && /^\P{C}+$/u.test(text);
  return isClean && text.startsWith('/') && text.length <= longestFile;
}

function isConfigured(path: string, tls: VaultTls = {}): boolean {
  return [tls.caFile, tls.caDirectory, tls.certFile, tls.keyFile].includes(path);
}

function readServerName(reader: ClassReader): string | undefined {
  const given = reader.given('TLSServerName');
  if (given !== undefined && !isHostName(given.text))
    refuse(
      reader,
      given,
      `is no host name: ${quoteForeign(given.text)}`,
      'write the name that stands in the certificate of Vault',
    );
  return given?.text;
}

/** Whether a text has the form of a host's name. */
export function isHostName(text: string): boolean {
  return /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(text);
}

function readSkipVerify(reader: ClassReader): boolean | undefined {
  const given = reader.given('SkipTLSVerify');
  if (given === undefined) return undefined;
  const skips = parseGoBoolean(given.text);
  const { facts } = reader;
  if (skips === undefined)
    refuse(reader, given, `is neither "true" nor "false": ${quoteForeign(given.text)}`, 'leave it out');
  else if (skips && facts?.allowSkipVerify !== true && facts?.tls.skipVerify !== true)
    refuseUnallowed(reader, given, {
      fault: 'is not allowed to classes',
      toDo: 'set KEYFERRY_VAULT_ALLOW_SKIP_VERIFY=true',
      check: 'that TLS is not verified, which the operator has to allow',
    });
  return skips;
}

/** The words of Go's `strconv.ParseBool`, which the vendors' providers take. */
export function parseGoBoolean(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined;
}

/** Where a class's Vault is and how it is reached: what the class says, for the rest what the operator configured. */
export function readConnection(reader: ClassReader): Pick<VaultLogin, 'addresses' | 'namespace' | 'tls'> {
  const namespace = readNamespace(reader);
  return {
    addresses: readAddresses(reader),
    ...(namespace !== undefined && { namespace }),
    tls: readTls(reader),
  };
}

function readAddresses(reader: ClassReader): readonly string[] {
  const { given, facts, report, skip } = reader;
  const address = given('Address');
  if (address === undefined) {
    if (facts === undefined) skip('the address of Vault, which the class leaves to Keyferry');
    else if (facts.addresses.length === 0)
      report({
        severity: 'error',
        code: 'NOT_CONFIGURED',
        message: 'the class names no address of Vault, and Keyferry is configured with none',
        hint: 'set vaultAddress in the class, or VAULT_ADDR in the DaemonSet of Keyferry',
      });
    return facts?.addresses ?? [];
  }
  const texts = splitList(address.text);
  if (texts.length === 0 || texts.length > maxAddresses) {
    refuse(
      reader,
      address,
      `has ${texts.length} addresses`,
      `list 1 to ${maxAddresses}, separated by commas`,
    );
    return [];
  }
  return [...new Set(texts.map((text) => readAddress(reader, address, text)))];
}

function readAddress(reader: ClassReader, given: GivenParameter, text: string): string {
  try {
    return classAddress(text, reader.facts?.allowedAddresses ?? []);
  } catch (thrown) {
    if (isCode(thrown, 'INVALID_CLASS')) {
      refuse(reader, given, `: ${thrown.message}`, thrown.hint ?? 'write https://vault.example:8200');
      return '';
    }
    if (!isCode(thrown, 'NOT_ALLOWED_FROM_CLASS')) throw thrown;
    refuseUnallowed(reader, given, {
      fault: `: ${thrown.message}`,
      toDo: `list it in KEYFERRY_VAULT_ALLOWED_ADDRESSES, with ${text.startsWith('http:') ? 'http:// and ' : ''}its port`,
      check: 'an address of Vault in the class, which the operator has to allow',
    });
    // Of use offline alone: here the class has failed.
    return text.startsWith('unix:') ? text : parseEndpoint(text, { allowHttp: true }).origin;
  }
}

/** Free: with an identity of the workload's own Vault decides there as everywhere. */
function readNamespace(reader: ClassReader): string | undefined {
  const given = reader.given('Namespace');
  if (given === undefined) return reader.facts?.namespace;
  const namespace = cleanNamespace(given.text);
  if (namespace === undefined)
    refuse(reader, given, `is no namespace: ${quoteForeign(given.text)}`, 'write it like team-a/shop');
  return namespace;
}

/** Without slashes at its ends, like all that mean one namespace; `undefined` for what cannot be one. */
export function cleanNamespace(text: string): string | undefined {
  const namespace = text.replace(/^\/+|\/+$/g, '');
  return /^[\x21-\x7e]{1,512}$/.test(namespace) ? namespace : undefined;
}
