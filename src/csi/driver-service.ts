import type { Message } from './message.ts';
import { mountRequest, mountResponse, versionRequest, versionResponse } from './messages.ts';

/** A method of a gRPC service. */
export type UnaryMethod<Q, A> = {
  readonly path: string;
  readonly request: Message<Q>;
  readonly response: Message<A>;
};

/** The service between driver and provider (proto/provider.proto). */
export const driverService = {
  version: unary('Version', versionRequest, versionResponse),
  mount: unary('Mount', mountRequest, mountResponse),
};

function unary<Q, A>(name: string, request: Message<Q>, response: Message<A>): UnaryMethod<Q, A> {
  return { path: `/v1alpha1.CSIDriverProvider/${name}`, request, response };
}
