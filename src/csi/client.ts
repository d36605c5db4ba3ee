import type { RawMountRequest } from './mount-request.ts';
import { type CallOptions, UnaryClient, type UnaryResult } from './grpc/client.ts';
import {
  type MountMessage,
  type MountResponse,
  type UnaryMethod,
  type VersionResponse,
  driverService,
  runtimeName,
} from './messages.ts';

/** A request as the driver sends it. */
export type DriverRequest = RawMountRequest & {
  /** The versions of the last mount. Drivers from 1.6 on send none, the default. */
  readonly currentVersions?: MountMessage['currentObjectVersion'];
};

/** Options of a {@link DriverClient}. */
export type DriverClientOptions = {
  readonly socketPath: string;
  /**
   * The value of `:authority`: `localhost`, as drivers from 1.6 on send it, or the socket's path,
   * as drivers up to 1.5 do. Default `localhost`.
   */
  readonly authority?: 'localhost' | 'socket-path';
  /** The largest response in bytes that the client accepts. Default 4 MiB, as in the driver. */
  readonly maxReceiveBytes?: number;
};

/**
 * The driver's side of the interface to a provider, over the provider's unix socket. Calls never
 * reject: a failure is a result with a code. The client never retries.
 */
export class DriverClient {
  readonly #client: UnaryClient;

  constructor({
    socketPath,
    authority = 'localhost',
    maxReceiveBytes = 4 * 1024 * 1024,
  }: DriverClientOptions) {
    this.#client = new UnaryClient({
      socketPath,
      authority: authority === 'localhost' ? 'localhost' : socketPath,
      maxMessageBytes: maxReceiveBytes,
    });
  }

  version(options: CallOptions = {}): Promise<UnaryResult<VersionResponse>> {
    return this.#call(driverService.version, { version: 'v1alpha1' }, options);
  }

  mount(
    { currentVersions = [], ...request }: DriverRequest,
    options: CallOptions = {},
  ): Promise<UnaryResult<MountResponse>> {
    const message = { ...request, currentObjectVersion: currentVersions };
    return this.#call(driverService.mount, message, options);
  }

  /** Closes the connection after the calls in flight. */
  close(): void {
    this.#client.close();
  }

  async #call<Request, Response>(
    { path, request, response }: UnaryMethod<Request, Response>,
    message: Request,
    options: CallOptions,
  ): Promise<UnaryResult<Response>> {
    const result = await this.#client.call(path, request.encode(message), options);
    if (result.code !== 'OK') return result;
    try {
      return { code: 'OK', response: response.decode(result.response) };
    } catch {
      return { code: 'INTERNAL', message: 'the response is not a message of this method' };
    }
  }
}

/** Whether a provider responds on the socket within a second. */
export async function isServing(socketPath: string): Promise<boolean> {
  const client = new DriverClient({ socketPath });
  const { code } = await client.version({ timeoutMs: 1_000 });
  client.close();
  return code === 'OK';
}

/**
 * Connects to the socket at `path` as a driver does.
 * @returns the problem, or undefined if Keyferry responds there in time: this process, or another
 * one that has taken over the socket
 */
export async function probeSocket(path: string, timeoutMs: number): Promise<string | undefined> {
  const client = new DriverClient({ socketPath: path });
  const result = await client.version({ timeoutMs });
  client.close();
  if (result.code !== 'OK') return `${path} does not respond: ${result.message}`;
  if (result.response.runtimeName !== runtimeName) return `${path} is served by another program`;
  return undefined;
}
