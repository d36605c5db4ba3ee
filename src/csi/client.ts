import type { RawMountRequest } from './mount-request.ts';
import { type Answer, type CallOptions, createUnaryClient } from './grpc/client.ts';
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
  version(options?: CallOptions): Promise<Answer<VersionResponse>>;
  mount(request: RawMountRequest, options?: CallOptions): Promise<Answer<MountResponse>>;
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
    how: CallOptions,
  ): Promise<Answer<A>> {
    const answer = await client.call(method.path, method.request.encode(request), how);
    if (answer.code !== 'OK') return answer;
    try {
      return { code: 'OK', response: method.response.decode(answer.response) };
    } catch {
      return { code: 'INTERNAL', message: 'the answer is no message of this method' };
    }
  }

  return {
    version: (how = {}) => call(driverService.version, { version: 'v1alpha1' }, how),
    mount: ({ currentVersions, ...request }, how = {}) =>
      call(driverService.mount, { ...request, currentObjectVersion: currentVersions }, how),
    close: client.close,
  };
}

/** Whether a provider answers on the socket, within a second. */
export async function isAnswering(socketPath: string): Promise<boolean> {
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
  const answer = await client.version({ timeoutMs });
  client.close();
  if (answer.code !== 'OK') return `${path} does not answer: ${answer.message}`;
  if (answer.response.runtimeVersion !== runtimeVersion)
    return `${path} is answered by another process`;
  return undefined;
}
