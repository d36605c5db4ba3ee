import { status, type ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { codes, type ErrorCode } from '../errors/codes.ts';
import { SecretError } from '../errors/secret-error.ts';
import { quoteForeign, statusText } from '../errors/status-text.ts';

/** What a call ends with. */
export type Ending = { readonly code: status; readonly details: string };

/** The status with which a failure leaves: always a final one (docs/adr/0002), its text one printable line. */
export function toStatus(error: SecretError): Ending {
  return { code: status[codes[error.code].grpc], details: statusText(error.event) };
}

const final = new Set<status>([status.OK, ...Object.values(codes).map(({ grpc }) => status[grpc])]);

/** What grpc-js means by the statuses that it makes by itself and that are not final. */
const meanings: Partial<Record<status, ErrorCode>> = {
  // The request, not the response: nothing limits what we send but ourselves.
  [status.RESOURCE_EXHAUSTED]: 'INVALID_REQUEST',
  // No message, two of them, or an unknown compression.
  [status.UNIMPLEMENTED]: 'INVALID_REQUEST',
  [status.DEADLINE_EXCEEDED]: 'DEADLINE',
};

type Call = Parameters<ServerInterceptor>[1];

/**
 * Sees to it that no call ends with a status that is not final, not even one that grpc-js makes itself: a message too large, its own clock for the
 * caller's deadline, a handler that throws. Those do not pass by interceptors, so the call's own way out is replaced.
 */
export const onlyFinalStatuses: ServerInterceptor = (_method, call) => {
  // One function for all calls: a closure for each was measured to cost more than all else that we add to a call.
  call.sendStatus = sendFinalStatus;
  // An interceptor may answer with any call, its type notwithstanding; wrapping would only cost time.
  return call as unknown as ServerInterceptingCall;
};

function sendFinalStatus(this: Call, outgoing: Ending): void {
  const { sendStatus } = Object.getPrototypeOf(this) as { sendStatus: Call['sendStatus'] };
  sendStatus.call(this, final.has(outgoing.code) ? outgoing : finalOf(outgoing));
}

function finalOf({ code, details }: Ending): Ending {
  const meant = meanings[code] ?? 'INTERNAL';
  return toStatus(new SecretError(meant, `the call failed outside of the mount: ${quoteForeign(details)}`));
}
