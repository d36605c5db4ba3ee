import { createDriverClient, type DriverClientOptions } from '../csi/driver-client.ts';
import type { Answer, CallOptions } from '../csi/grpc/unary-client.ts';
import type { MountResponse, VersionResponse } from '../csi/messages.ts';
import type { RawMountRequest } from '../mount/raw-request.ts';

/** The driver's side of the interface to a provider, in the words of `mount/`. Calls never reject: a failure is an answer with a code. */
export type ProviderClient = {
  version(options?: CallOptions): Promise<Answer<VersionResponse>>;
  mount(request: RawMountRequest, options?: CallOptions): Promise<Answer<MountResponse>>;
  close(): void;
};

/** A client of the provider that listens on a unix socket, as {@link createDriverClient} makes it. */
export function createProviderClient(options: DriverClientOptions): ProviderClient {
  const { version, mount, close } = createDriverClient(options);
  return {
    version,
    mount: ({ currentVersions, ...request }, how) =>
      mount({ ...request, currentObjectVersion: currentVersions }, how),
    close,
  };
}

/** Whether a provider answers on the socket, within a second. */
export async function isAnswering(socketPath: string): Promise<boolean> {
  const client = createProviderClient({ socketPath });
  const { code } = await client.version({ timeoutMs: 1_000 });
  client.close();
  return code === 'OK';
}
