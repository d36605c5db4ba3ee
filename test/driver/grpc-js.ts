import { Client, credentials, type MethodDefinition, type requestCallback } from '@grpc/grpc-js';
import { driverService, type UnaryMethod } from '../../src/csi/messages.ts';
import type { MountMessage, MountResponse, VersionResponse } from '../../src/csi/messages.ts';

/**
 * The driver's service for grpc-js, with which the tests check Keyferry's own server and client.
 */
export const grpcJsService = {
  Version: definition(driverService.version),
  Mount: definition(driverService.mount),
};

type CallOptions = { readonly deadline?: number };

/** A grpc-js client of the service. */
export class GrpcJsClient extends Client {
  /** @param authority the value of `:authority` */
  constructor(
    socketPath: string,
    authority: string,
    options: Readonly<Record<string, string | number>> = {},
  ) {
    super(`unix:${socketPath}`, credentials.createInsecure(), {
      'grpc.default_authority': authority,
      'grpc.enable_retries': 0,
      ...options,
    });
  }

  version(options: CallOptions, receive: requestCallback<VersionResponse>) {
    const { path, requestSerialize, responseDeserialize } = grpcJsService.Version;
    const request = { version: 'v1alpha1' };
    return this.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      options,
      receive,
    );
  }

  mount(request: MountMessage, options: CallOptions, receive: requestCallback<MountResponse>) {
    const { path, requestSerialize, responseDeserialize } = grpcJsService.Mount;
    return this.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      options,
      receive,
    );
  }
}

function definition<Request, Response>({
  path,
  request,
  response,
}: UnaryMethod<Request, Response>): MethodDefinition<Request, Response> {
  return {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: request.encode,
    requestDeserialize: request.decode,
    responseSerialize: response.encode,
    responseDeserialize: response.decode,
  };
}
