import type { Socket } from 'node:net';
import { SecretError } from '../errors/secret-error.ts';
import { DriverConnection } from './connection.ts';
import { driverService } from './driver-service.ts';
import { createUnaryServer, type UnaryServer } from './grpc/unary-server.ts';
import { frameMessage } from './grpc/wire.ts';
import { answerMount, type MountCallOptions } from './mount-call.ts';
import { toStatus } from './status.ts';

/** The gRPC server behind one provider's socket. */
export type ProviderServer = {
  /** Serves a driver's connection. */
  accept(socket: Socket): void;
  /** Ends all connections, politely first; whoever does not leave within `ms` is cut off. */
  close: UnaryServer['close'];
};

/** What {@link createProviderServer} needs. */
export type ProviderServerOptions = MountCallOptions & {
  /** What `Version` answers as `runtime_version`. */
  readonly runtimeVersion: string;
};

const maxRequestBytes = 4 * 1024 * 1024;

/** Serves `Version` and `Mount` of v1alpha1 over the connections it is given. */
export function createProviderServer({ runtimeVersion, ...mounting }: ProviderServerOptions): ProviderServer {
  const version = { version: 'v1alpha1', runtimeName: 'keyferry', runtimeVersion };
  const versionAnswer = frameMessage(driverService.version.response.encode(version));
  const server = createUnaryServer({
    methods: new Map([
      [driverService.version.path, (call) => call.answer(versionAnswer)],
      [driverService.mount.path, (call) => answerMount(call, mounting)],
    ]),
    maxMessageBytes: maxRequestBytes,
    refused: (problem) => toStatus(new SecretError('INVALID_REQUEST', `a call came ${problem}`)),
  });
  return {
    accept: (socket) => server.accept(new DriverConnection(socket)),
    close: server.close,
  };
}
