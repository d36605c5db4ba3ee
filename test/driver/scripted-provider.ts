import { Server, ServerCredentials, status, type handleUnaryCall } from '@grpc/grpc-js';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { grpcJsService } from './grpc-js.ts';
import type {
  File,
  MountMessage,
  MountResponse,
  VersionRequest,
  VersionResponse,
} from '../../src/csi/messages.ts';

/** A response with optional fields. */
export type ScriptedResponse = Partial<Omit<MountResponse, 'files'>> & {
  readonly files?: readonly Partial<File>[];
};

/** One result of a script: a response or a status. `noResponse` leaves the call open. */
export type ScriptedResult =
  | ScriptedResponse
  | { readonly code: keyof typeof status; readonly message: string }
  | 'noResponse';

/** A received request and the time until its deadline. */
export type ReceivedRequest = MountMessage & {
  /** Milliseconds until the deadline when it was received; Infinity without one. */
  readonly remainingMs: number;
};

export type ScriptedProvider = {
  readonly socketPath: string;
  /** The requests in the order of their arrival. */
  readonly requests: ReceivedRequest[];
  /** Sets the results of the next calls, in order. The last one is repeated. */
  script(...results: ScriptedResult[]): void;
  stop(): void;
};

/**
 * A provider on a plain grpc-js server with scripted results, for tests of the driver's side. It
 * may send responses that Keyferry never sends.
 */
export async function startScriptedProvider(
  providersDir: string,
  name: string,
): Promise<ScriptedProvider> {
  const requests: ReceivedRequest[] = [];
  let results: ScriptedResult[] = [];
  const server = new Server({ 'grpc.max_send_message_length': -1 });
  const version: handleUnaryCall<VersionRequest, VersionResponse> = (_call, callback) =>
    callback(null, { version: 'v1alpha1', runtimeName: 'scripted', runtimeVersion: '0' });
  const mount: handleUnaryCall<MountMessage, MountResponse> = (call, callback) => {
    requests.push({ ...call.request, remainingMs: Number(call.getDeadline()) - Date.now() });
    const result = (results.length > 1 ? results.shift() : results[0]) ?? 'noResponse';
    if (result === 'noResponse') return;
    if ('code' in result) callback({ code: status[result.code], details: result.message });
    else callback(null, complete(result));
  };
  server.addService(grpcJsService, { Version: version, Mount: mount });
  await mkdir(providersDir, { recursive: true });
  const socketPath = join(providersDir, `${name}.sock`);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  return {
    socketPath,
    requests,
    script: (...next) => {
      results = next;
    },
    stop: () => server.forceShutdown(),
  };
}

function complete({ files = [], ...rest }: ScriptedResponse): MountResponse {
  const empty = { path: '', mode: 0, contents: new Uint8Array(0) };
  return {
    objectVersion: [],
    error: undefined,
    ...rest,
    files: files.map((file) => ({ ...empty, ...file })),
  };
}
