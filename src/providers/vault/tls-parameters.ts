import { posix } from 'node:path';
import { quoteForeign } from '../../errors/status-text.ts';
import type { GivenParameter } from '../class-parameters.ts';
import { refuse, refuseUnallowed, type ClassReader } from './class-reader.ts';
import type { VaultTls } from './login.ts';

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
