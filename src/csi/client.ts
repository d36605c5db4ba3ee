import type { RawMountRequest } from './mount-request.ts';
import { type UnaryResult, type CallOptions, createUnaryClient } from './grpc/client.ts';
import {
  type MountResponse,
  type UnaryMethod,
  type VersionResponse,
  driverService,
} from './messages.ts';

/** How to reach a provider. */
export type DriverClientOptions = {
  readonly socketPath: string;
  /** What `:authority` says: `localhost` (drivers from 1.6 on, the default) or `socket-path` (drivers up to 1.5). */
  readonly authority?: 'localhost' | 'socket-path';
  /** The longest answer in bytes that is taken; default 4 MiB, as the driver's. */
  readonly maxReceiveBytes?: number;
};

/** The driver's side of the interface to a provider. Calls never reject: a failure is an answer with a code. */
export type DriverClient = {
  version(options?: CallOptions): Promise<UnaryResult<VersionResponse>>;
  mount(request: RawMountRequest, options?: CallOptions): Promise<UnaryResult<MountResponse>>;
  close(): void;
};

/** A client of the provider that listens on a unix socket. It never retries by itself: a failure is seen as it came. */
export function createDriverClient(options: DriverClientOptions): DriverClient {
  const { socketPath, authority = 'localhost', maxReceiveBytes = 4 * 1024 * 1024 } = options;
  const client = createUnaryClient({
    socketPath,
    authority: authority === 'localhost' ? 'localhost' : socketPath,
    maxMessageBytes: maxReceiveBytes,
  });

  async function call<Q, A>(
    method: UnaryMethod<Q, A>,
    request: Q,
    options: CallOptions,
  ): Promise<UnaryResult<A>> {
    const result = await client.call(method.path, method.request.encode(request), options);
    if (result.code !== 'OK') return result;
    try {
      return { code: 'OK', response: method.response.decode(result.response) };
    } catch {
      return { code: 'INTERNAL', message: 'the answer is no message of this method' };
    }
  }

  return {
    version: (options = {}) => call(driverService.version, { version: 'v1alpha1' }, options),
    mount: ({ currentVersions, ...request }, options = {}) =>
      call(driverService.mount, { ...request, currentObjectVersion: currentVersions }, options),
    close: client.close,
  };
}

/** Whether a provider answers on the socket, within a second. */
export async function isServing(socketPath: string): Promise<boolean> {
  const client = createDriverClient({ socketPath });
  const { code } = await client.version({ timeoutMs: 1_000 });
  client.close();
  return code === 'OK';
}

/** What is wrong with the socket at `path`, as a driver would find it; undefined where this very process answers there in time. */
export async function probeSocket({
  path,
  runtimeVersion,
  timeoutMs,
}: {
  path: string;
  runtimeVersion: string;
  timeoutMs: number;
}): Promise<string | undefined> {
  const client = createDriverClient({ socketPath: path });
  const result = await client.version({ timeoutMs });
  client.close();
  if (result.code !== 'OK') return `${path} does not answer: ${result.message}`;
  if (result.response.runtimeVersion !== runtimeVersion)
    return `${path} is answered by another process`;
  return undefined;
}
