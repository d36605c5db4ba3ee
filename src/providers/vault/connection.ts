import { quoteForeign } from '../../errors/status-text.ts';
import { parseEndpoint } from '../../http/endpoint.ts';
import type { GivenParameter } from '../class-parameters.ts';
import { classAddress, maxAddresses, splitList } from './address.ts';
import { isCode, refuse, refuseUnallowed, type ClassReader } from './class-reader.ts';
import type { VaultLogin } from './login.ts';
import { readTls } from './tls-parameters.ts';

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
