import { Client, credentials, type MethodDefinition, type requestCallback } from '@grpc/grpc-js';
import type { Message } from './message.ts';
import {
  mountRequest,
  mountResponse,
  versionRequest,
  versionResponse,
  type MountRequest,
  type MountResponse,
  type VersionRequest,
  type VersionResponse,
} from './messages.ts';

/** The service between driver and provider, as a server offers it. */
export const driverService = {
  Version: unary('Version', versionRequest, versionResponse),
  Mount: unary('Mount', mountRequest, mountResponse),
};

/** How to call. */
export type DriverCallOptions = { readonly deadline?: number };

/** The service as the driver calls it. */
export class DriverClient extends Client {
  /** @param authority what `:authority` says */
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

  version(options: DriverCallOptions, receive: requestCallback<VersionResponse>) {
    const request: VersionRequest = { version: 'v1alpha1' };
    const { path, requestSerialize, responseDeserialize } = driverService.Version;
    return this.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, receive);
  }

  mount(request: MountRequest, options: DriverCallOptions, receive: requestCallback<MountResponse>) {
    const { path, requestSerialize, responseDeserialize } = driverService.Mount;
    return this.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, receive);
  }
}

function unary<Q, A>(name: string, request: Message<Q>, response: Message<A>): MethodDefinition<Q, A> {
  return {
    path: `/v1alpha1.CSIDriverProvider/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: request.encode,
    requestDeserialize: request.decode,
    responseSerialize: response.encode,
    responseDeserialize: response.decode,
  };
}
