import { status, type ServiceError } from '@grpc/grpc-js';
import { DriverClient } from '../csi/driver-service.ts';
import type { MountResponse, VersionResponse } from '../csi/messages.ts';
import type { RawMountRequest } from '../mount/raw-request.ts';

/** The name of a gRPC status: `OK`, `NOT_FOUND`, ... */
export type StatusName = keyof typeof status;

/** What came of a call: an answer, or the status it failed with. */
export type Answer<T> =
  | { readonly code: 'OK'; readonly response: T }
  | { readonly code: Exclude<StatusName, 'OK'>; readonly message: string };

/** How to reach a provider. */
export type ProviderClientOptions = {
  readonly socketPath: string;
  /** What `:authority` says: `localhost` (drivers from 1.6 on, the default) or `socket-path` (drivers up to 1.5). */
  readonly authority?: 'localhost' | 'socket-path';
  /** The longest answer in bytes that is taken; default 4 MiB, as the driver's. */
  readonly maxReceiveBytes?: number;
};

/** The circumstances of one call. */
export type CallOptions = {
  /** Milliseconds until the caller gives up; none: no deadline is sent. */
  readonly timeoutMs?: number | undefined;
  /** Cancels the call. */
  readonly signal?: AbortSignal | undefined;
};

/** The driver's side of the interface to a provider. Calls never reject: a failure is an answer with a code. */
export type ProviderClient = {
  version(options?: CallOptions): Promise<Answer<VersionResponse>>;
  mount(request: RawMountRequest, options?: CallOptions): Promise<Answer<MountResponse>>;
  close(): void;
};

type Receive<T> = (error: ServiceError | null, response?: T) => void;

/** A client of the provider that listens on a unix socket. It never retries by itself: a failure is seen as it came. */
export function createProviderClient(options: ProviderClientOptions): ProviderClient {
  const { socketPath, authority = 'localhost', maxReceiveBytes = 4 * 1024 * 1024 } = options;
  const client = new DriverClient(socketPath, authority === 'localhost' ? 'localhost' : socketPath, {
    'grpc.max_receive_message_length': maxReceiveBytes,
  });
  const call = <T>(
    { timeoutMs, signal }: CallOptions,
    start: (deadline: { deadline?: number }, receive: Receive<T>) => { cancel(): void },
  ): Promise<Answer<T>> =>
    new Promise((resolve) => {
      const deadline = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
      const started = start(deadline, (error, response) => {
        signal?.removeEventListener('abort', cancel);
        resolve(error === null && response !== undefined ? { code: 'OK', response } : failure(error));
      });
      const cancel = (): void => started.cancel();
      if (signal?.aborted === true) cancel();
      signal?.addEventListener('abort', cancel, { once: true });
    });
  return {
    version: (circumstances = {}) =>
      call(circumstances, (deadline, receive) => client.version(deadline, receive)),
    mount: ({ currentVersions, ...request }, circumstances = {}) =>
      call(circumstances, (deadline, receive) =>
        client.mount({ ...request, currentObjectVersion: currentVersions }, deadline, receive),
      ),
    close: () => client.close(),
  };
}

function failure(error: ServiceError | null): Answer<never> {
  const name = status[error?.code ?? status.UNKNOWN] as StatusName | undefined;
  if (name === undefined || name === 'OK') return { code: 'UNKNOWN', message: error?.details ?? 'no answer' };
  return { code: name, message: error?.details ?? 'no answer' };
}

/** Whether a provider answers on the socket, within a second. */
export async function isAnswering(socketPath: string): Promise<boolean> {
  const client = createProviderClient({ socketPath });
  const { code } = await client.version({ timeoutMs: 1_000 });
  client.close();
  return code === 'OK';
}
