import { quoteForeign } from '../../../core/safe-text.ts';
import { type AuthMethod, type VaultLogin, defaultMounts } from '../types.ts';
import { readConnection } from './connection.ts';
import { type ClassReader, refuse } from './reader.ts';

const methods = Object.keys(defaultMounts) as readonly AuthMethod[];
const longestWord = 256;

/** How a class wants to log in. */
export function readLogin(dialect: VaultLogin['dialect'], reader: ClassReader): VaultLogin {
  const method = readMethod(reader);
  const mount = readMount(method, reader);
  const role = readRole(method, reader);
  const isKubernetes =
    method === 'kubernetes' && (reader.given('authMethod') !== undefined || mount === 'kubernetes');
  return {
    dialect,
    ...readConnection(reader),
    method,
    mount,
    ...(role !== undefined && { role }),
    audience: readAudience(dialect, reader),
    leaseScope: readLeaseScope(reader),
    ...((method === 'jwt' || (method === 'kubernetes' && !isKubernetes)) && { mayBindPod: true }),
  };
}

function readMethod(reader: ClassReader): AuthMethod {
  const given = reader.given('authMethod');
  const method = methods.find((name) => name === given?.text);
  if (given !== undefined && method === undefined)
    refuse(reader, given, `is not known: ${quoteForeign(given.text)}`, `use one of ${methods.join(', ')}`);
  return method ?? 'kubernetes';
}

/** Below `auth/`. */
function readMount(method: AuthMethod, reader: ClassReader): string {
  const { given, facts } = reader;
  const ofKubernetes = given('KubernetesMountPath');
  const ofAll = given('AuthMountPath');
  if (ofKubernetes !== undefined && ofAll !== undefined)
    refuse(reader, ofAll, `and ${ofKubernetes.name} stand side by side`, 'remove one of them');
  const mount = ofAll ?? ofKubernetes;
  if (mount === undefined) return (facts?.mounts ?? defaultMounts)[method];
  const path = cleanMount(mount.text);
  if (path === undefined)
    refuse(
      reader,
      mount,
      `is no path of an auth method: ${quoteForeign(mount.text)}`,
      'write it like kubernetes',
    );
  return path ?? '';
}

/** Without slashes at its ends and doubled ones; `undefined` for what would lead elsewhere. */
export function cleanMount(text: string): string | undefined {
  const segments = text.split('/').filter((segment) => segment !== '');
  const isPlain = segments.every((segment) => /^[\w.~@:+-]+$/.test(segment) && !/^\.\.?$/.test(segment));
  return isPlain && segments.length > 0 && text.length <= longestWord ? segments.join('/') : undefined;
}

function readRole(method: AuthMethod, reader: ClassReader): string | undefined {
  const given = reader.given('roleName');
  if (given === undefined) {
    if (method === 'kubernetes' || method === 'jwt')
      reader.report({
        severity: 'error',
        code: 'INVALID_CLASS',
        message: 'the parameter `roleName` is missing',
        hint: `name a role of the auth method ${method}`,
        parameter: 'roleName',
      });
    return undefined;
  }
  checkWord(reader, given);
  // Both are somebody without it; classes that migrate have it.
  return method === 'approle' || method === 'token' ? undefined : given.text;
}

function readAudience(dialect: VaultLogin['dialect'], reader: ClassReader): string {
  const given = reader.given('audience');
  if (given !== undefined) checkWord(reader, given);
  return given?.text ?? dialect;
}

function checkWord(reader: ClassReader, given: { readonly name: string; readonly text: string }): void {
  if (!/^\P{C}+$/u.test(given.text) || given.text.length > longestWord)
    refuse(
      reader,
      given,
      `has control characters, or is longer than ${longestWord} characters`,
      'shorten it',
    );
}

function readLeaseScope(reader: ClassReader): VaultLogin['leaseScope'] {
  const given = reader.given('leaseScope');
  if (given === undefined || given.text === 'pod') return 'pod';
  if (given.text !== 'serviceAccount')
    refuse(
      reader,
      given,
      `is neither "pod" nor "serviceAccount": ${quoteForeign(given.text)}`,
      'leave it out: each pod then has credentials of its own',
    );
  return 'serviceAccount';
}
