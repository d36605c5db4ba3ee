import { sanitizeUserText } from '../../../core/safe-text.ts';
import { type AuthMethod, type VaultLogin, defaultMounts } from '../types.ts';
import { readConnection } from './connection.ts';
import { type ClassReader, reportInvalid } from './parameters.ts';

const methods = Object.keys(defaultMounts) as readonly AuthMethod[];
const maxValueLength = 256;

/** Reads how a class logs in. */
export function readLogin(dialect: VaultLogin['dialect'], reader: ClassReader): VaultLogin {
  const method = readMethod(reader);
  const mount = readMount(method, reader);
  const role = readRole(method, reader);
  const isKubernetes =
    method === 'kubernetes' &&
    (reader.getParameter('authMethod') !== undefined || mount === 'kubernetes');
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
  const parameter = reader.getParameter('authMethod');
  const method = methods.find((name) => name === parameter?.text);
  if (parameter !== undefined && method === undefined)
    reportInvalid(
      reader,
      parameter,
      `is not known: ${sanitizeUserText(parameter.text)}`,
      `use one of ${methods.join(', ')}`,
    );
  return method ?? 'kubernetes';
}

/** The mount, below `auth/`. */
function readMount(method: AuthMethod, reader: ClassReader): string {
  const { getParameter, nodeFacts } = reader;
  const kubernetesMount = getParameter('KubernetesMountPath');
  const authMount = getParameter('AuthMountPath');
  if (kubernetesMount !== undefined && authMount !== undefined)
    reportInvalid(
      reader,
      authMount,
      `and ${kubernetesMount.name} stand side by side`,
      'remove one of them',
    );
  const mount = authMount ?? kubernetesMount;
  if (mount === undefined) return (nodeFacts?.mounts ?? defaultMounts)[method];
  const path = normalizeMount(mount.text);
  if (path === undefined)
    reportInvalid(
      reader,
      mount,
      `is not a path of an auth method: ${sanitizeUserText(mount.text)}`,
      'write it like kubernetes',
    );
  return path ?? '';
}

/**
 * Strips the slashes at the ends of a mount, and doubled ones.
 * @returns undefined for a path that leads elsewhere
 */
export function normalizeMount(text: string): string | undefined {
  const segments = text.split('/').filter((segment) => segment !== '');
  const isValid = segments.every(
    (segment) => /^[\w.~@:+-]+$/.test(segment) && !/^\.\.?$/.test(segment),
  );
  return isValid && segments.length > 0 && text.length <= maxValueLength
    ? segments.join('/')
    : undefined;
}

function readRole(method: AuthMethod, reader: ClassReader): string | undefined {
  const parameter = reader.getParameter('roleName');
  if (parameter === undefined) {
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
  checkValue(reader, parameter);
  // Both methods log in without a role; classes that migrate have one.
  return method === 'approle' || method === 'token' ? undefined : parameter.text;
}

function readAudience(dialect: VaultLogin['dialect'], reader: ClassReader): string {
  const parameter = reader.getParameter('audience');
  if (parameter !== undefined) checkValue(reader, parameter);
  return parameter?.text ?? dialect;
}

function checkValue(
  reader: ClassReader,
  parameter: { readonly name: string; readonly text: string },
): void {
  if (!/^\P{C}+$/u.test(parameter.text) || parameter.text.length > maxValueLength)
    reportInvalid(
      reader,
      parameter,
      `has control characters, or is longer than ${maxValueLength} characters`,
      'shorten it',
    );
}

function readLeaseScope(reader: ClassReader): VaultLogin['leaseScope'] {
  const parameter = reader.getParameter('leaseScope');
  if (parameter === undefined || parameter.text === 'pod') return 'pod';
  if (parameter.text !== 'serviceAccount')
    reportInvalid(
      reader,
      parameter,
      `is neither "pod" nor "serviceAccount": ${sanitizeUserText(parameter.text)}`,
      'leave it out: each pod then has credentials of its own',
    );
  return 'serviceAccount';
}
