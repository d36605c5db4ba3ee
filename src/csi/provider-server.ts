import { Server, ServerCredentials, type handleUnaryCall } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import { DriverConnection } from './connection.ts';
import { driverService } from './driver-service.ts';
import type { MountResponse, VersionRequest, VersionResponse } from './messages.ts';
import { answerMount, type MountCallOptions } from './mount-call.ts';
import { encodeResponse } from './response-bytes.ts';
import { onlyFinalStatuses } from './status.ts';

/** The gRPC server behind one provider's socket. */
export type ProviderServer = {
  /** Serves a driver's connection. */
  accept(socket: Socket): void;
  /** Ends all connections, politely first; whoever does not leave within `ms` is cut off. */
  close(ms: number): Promise<void>;
};

/** What {@link createProviderServer} needs. */
export type ProviderServerOptions = MountCallOptions & {
  /** What `Version` answers as `runtime_version`. */
  readonly runtimeVersion: string;
};

/** Serves `Version` and `Mount` of v1alpha1 over the connections it is given. */
export function createProviderServer({ runtimeVersion, ...mounting }: ProviderServerOptions): ProviderServer {
  const server = new Server({
    'grpc.enable_channelz': 0,
    // All pods of a node at once; a stream beyond it would wait in the driver, where no deadline of ours reaches.
    'grpc.max_concurrent_streams': 10_000,
    interceptors: [onlyFinalStatuses],
  });
  const version: handleUnaryCall<VersionRequest, VersionResponse> = (_call, respond) => {
    respond(null, { version: 'v1alpha1', runtimeName: 'keyferry', runtimeVersion });
  };
  const mount: handleUnaryCall<Buffer, MountResponse> = (call, respond) =>
    answerMount(call, respond, mounting);
  // A request is read when there is room for it: as text it would lie on the heap while it waits.
  const service = {
    ...driverService,
    Mount: {
      ...driverService.Mount,
      requestDeserialize: (bytes: Buffer) => bytes,
      responseSerialize: encodeResponse,
    },
  };
  server.addService(service, { Version: version, Mount: mount });
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const connections = new Set<DriverConnection>();

  return {
    accept(socket) {
      const connection = new DriverConnection(socket);
      connections.add(connection);
      connection.once('close', () => connections.delete(connection));
      injector.injectConnection(connection);
    },
    async close(ms) {
      const left = [...connections].map(
        (connection) => new Promise((resolve) => connection.once('close', resolve)),
      );
      injector.drain(ms);
      const cutOff = setTimeout(() => connections.forEach((connection) => connection.destroy()), ms);
      await Promise.all(left);
      clearTimeout(cutOff);
      server.forceShutdown();
    },
  };
}
