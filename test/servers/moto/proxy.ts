import type { SecureContextOptions } from 'node:tls';
import { awsErrorResponse } from '../../fakes/aws-account.ts';
import { parseSigV4 } from '../../fakes/aws-sigv4.ts';
import {
  startFakeServer,
  type FakeResponse,
  type FakeRequest,
  type FakeServer,
} from '../../fakes/http-server.ts';

/** A call on its way to moto. */
export type ProxiedCall = {
  /** `GetSecretValue` */
  readonly action: string;
  /** From the signature. */
  readonly region: string;
  readonly body: string;
};

/** A TLS proxy for moto that adds the errors that moto cannot return. */
export type MotoProxy = FakeServer & {
  /** All received calls, oldest first. */
  readonly calls: readonly ProxiedCall[];
  /** Sets the calls to which the proxy responds itself. A regional outage is such a rule, too. */
  intercept(respond?: (call: ProxiedCall) => FakeResponse | undefined): void;
};

export const accessDeniedResponse = awsErrorResponse(
  'AccessDeniedException',
  'User: nobody is not authorized to perform this',
);
export const throttledResponse = awsErrorResponse('ThrottlingException', 'Rate exceeded');

const connectionHeaders = new Set(['host', 'connection', 'content-length']);

/** Starts a proxy. It forwards all other calls to moto. */
export async function startMotoProxy(moto: URL, tls: SecureContextOptions): Promise<MotoProxy> {
  const calls: ProxiedCall[] = [];
  let interceptor: (call: ProxiedCall) => FakeResponse | undefined = () => undefined;

  async function handler(request: FakeRequest): Promise<FakeResponse> {
    const { method, path, headers, body } = request;
    const action = String(headers['x-amz-target']).split('.')[1] ?? '';
    const call = { action, region: parseSigV4(request)?.region ?? '', body: body.toString() };
    calls.push(call);
    const intercepted = interceptor(call);
    if (intercepted !== undefined) return intercepted;
    const forwardedHeaders = Object.entries(headers).filter(
      ([name]) => !connectionHeaders.has(name),
    );
    const response = await fetch(new URL(path, moto), {
      method,
      headers: forwardedHeaders.map(([name, value]) => [name, String(value)]),
      body: new Uint8Array(body),
    });
    const { 'content-type': type = '', 'x-amzn-requestid': id = '' } = Object.fromEntries(
      response.headers,
    );
    return {
      status: response.status,
      headers: { 'content-type': type, 'x-amzn-requestid': id },
      body: Buffer.from(await response.arrayBuffer()),
    };
  }

  return Object.assign(await startFakeServer({ handler, tls }), {
    calls,
    intercept(respond: (call: ProxiedCall) => FakeResponse | undefined = () => undefined) {
      interceptor = respond;
    },
  });
}
