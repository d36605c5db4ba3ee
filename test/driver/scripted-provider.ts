import { loadPackageDefinition, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { descriptor } from '../../src/csi/generated/descriptor.ts';
import type { ProtoGrpcType } from '../../src/csi/generated/provider.ts';
import type { MountRequest } from '../../src/csi/generated/v1alpha1/MountRequest.ts';
import type { MountResponseInput } from '../../src/csi/generated/v1alpha1/MountResponse.ts';

/** One answer out of a script: a response, or a status. `never` leaves the call open. */
export type ScriptedAnswer =
  MountResponseInput | { readonly code: keyof typeof status; readonly message: string } | 'never';

/** A request as it came in, and how much time its sender gave it. */
export type SeenRequest = MountRequest & {
  /** Milliseconds left of the deadline when it came; Infinity where none was sent. */
  readonly remainingMs: number;
};

export type ScriptedProvider = {
  readonly socketPath: string;
  /** Requests in the order in which they came. */
  readonly requests: SeenRequest[];
  /** What the next calls are answered, in order; the last answer is repeated for ever. */
  script(...answers: ScriptedAnswer[]): void;
  stop(): void;
};

/**
 * A provider on a bare grpc-js server that answers by script, for tests of what stands on the driver's side. It is no
 * model of Keyferry: it also answers what Keyferry never would.
 */
export async function startScriptedProvider(providersDir: string, name: string): Promise<ScriptedProvider> {
  const { v1alpha1 } = loadPackageDefinition(
    fromJSON(descriptor as unknown as Parameters<typeof fromJSON>[0], { defaults: true, arrays: true }),
  ) as unknown as ProtoGrpcType;
  const requests: SeenRequest[] = [];
  let answers: ScriptedAnswer[] = [];
  const server = new Server({ 'grpc.max_send_message_length': -1 });
  server.addService(v1alpha1.CSIDriverProvider.service, {
    version: (_call: unknown, callback: (error: null, response: object) => void) =>
      callback(null, { version: 'v1alpha1', runtimeName: 'scripted', runtimeVersion: '0' }),
    mount: (
      call: { request: MountRequest; getDeadline(): Date | number },
      callback: (error: object | null, response?: MountResponseInput) => void,
    ) => {
      requests.push({ ...call.request, remainingMs: Number(call.getDeadline()) - Date.now() });
      const answer = (answers.length > 1 ? answers.shift() : answers[0]) ?? 'never';
      if (answer === 'never') return;
      if ('code' in answer) callback({ code: status[answer.code], details: answer.message });
      else callback(null, answer);
    },
  });
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
      answers = next;
    },
    stop: () => server.forceShutdown(),
  };
}
