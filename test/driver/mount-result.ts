import type { StatusName } from '../../src/csi/grpc/wire.ts';
import type { UnaryResult } from '../../src/csi/grpc/client.ts';
import type { MountResponse } from '../../src/csi/messages.ts';

/** A failed mount, as the driver returns it to the kubelet. */
export type MountFailure = { readonly code: Exclude<StatusName, 'OK'>; readonly message: string };

/** The driver's checks of a provider's result: the response that it uses, or a failure. */
export function toMountResult(result: UnaryResult<MountResponse>): MountResponse | MountFailure {
  if (result.code !== 'OK') return result;
  const { response } = result;
  const code = response.error?.code ?? '';
  // The driver shows only the code. The text of the provider is lost.
  if (code !== '')
    return { code: 'UNKNOWN', message: `mount request failed with provider error code ${code}` };
  if (response.objectVersion.length === 0)
    return { code: 'UNKNOWN', message: 'missing object versions' };
  for (const { path } of response.files) {
    const violation = pathViolation(path);
    if (violation !== undefined)
      return { code: 'UNKNOWN', message: `invalid path: ${violation}: ${path}` };
  }
  return response;
}

/** The driver's rules for paths, independent of those in src, so that tests can compare them. */
function pathViolation(path: string): string | undefined {
  const components = path.split('/');
  if (path === '') return 'must not be empty';
  if (path.startsWith('/')) return 'must be relative';
  if (Buffer.byteLength(path) > 4096) return 'must not be longer than 4096 bytes';
  if (components.some((component) => component === '..')) return 'must not contain ..';
  if (components.some((component) => component === '' || component === '.')) return 'must be clean';
  if (components.some((component) => Buffer.byteLength(component) > 255))
    return 'file names must not be longer than 255 bytes';
  return path.startsWith('..') ? 'must not start with ..' : undefined;
}

/**
 * After these codes the kubelet does not know whether the volume is mounted. It neither removes the
 * directory nor retries.
 */
const nonFinal = new Set<StatusName>([
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
  'RESOURCE_EXHAUSTED',
  'ABORTED',
]);

export function isFinal(failure: MountFailure): boolean {
  return !nonFinal.has(failure.code);
}

/** The failure as Go prints it: `rpc error: code = PermissionDenied desc = ...`. */
export function rpcError({ code, message }: MountFailure): string {
  const name =
    code === 'CANCELLED'
      ? 'Canceled'
      : code.toLowerCase().replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return `rpc error: code = ${name} desc = ${message}`;
}
