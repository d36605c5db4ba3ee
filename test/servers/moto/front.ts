import type { SecureContextOptions } from 'node:tls';
import { awsFault } from '../../fakes/aws-account.ts';
import { readSigV4 } from '../../fakes/aws-sigv4.ts';
import {
  startFakeServer,
  type FakeAnswer,
  type FakeRequest,
  type FakeServer,
} from '../../fakes/http-server.ts';

/** A call on its way to moto. */
export type PassingCall = {
  /** `GetSecretValue` */
  readonly action: string;
  /** By the signature. */
  readonly region: string;
  readonly body: string;
};

/** TLS before moto, and the refusals that moto cannot make. */
export type MotoFront = FakeServer & {
  /** Every call that came, oldest first. */
  readonly calls: readonly PassingCall[];
  /** From now on answers these itself; a regional outage is one, too. */
  intercept(answer?: (call: PassingCall) => FakeAnswer | undefined): void;
};

export const denied = awsFault('AccessDeniedException', 'User: nobody is not authorized to perform this');
export const throttled = awsFault('ThrottlingException', 'Rate exceeded');

const ofTheConnection = new Set(['host', 'connection', 'content-length']);

/** Starts one. What it does not answer itself, moto does. */
export async function startMotoFront(moto: URL, tls: SecureContextOptions): Promise<MotoFront> {
  const calls: PassingCall[] = [];
  let answerOf: (call: PassingCall) => FakeAnswer | undefined = () => undefined;

  async function handler(request: FakeRequest): Promise<FakeAnswer> {
    const { method, path, headers, body } = request;
    const action = String(headers['x-amz-target']).split('.')[1] ?? '';
    const call = { action, region: readSigV4(request)?.region ?? '', body: body.toString() };
    calls.push(call);
    const own = answerOf(call);
    if (own !== undefined) return own;
    const passed = Object.entries(headers).filter(([name]) => !ofTheConnection.has(name));
    const answer = await fetch(new URL(path, moto), {
      method,
      headers: passed.map(([name, value]) => [name, String(value)]),
      body: new Uint8Array(body),
    });
    const { 'content-type': type = '', 'x-amzn-requestid': id = '' } = Object.fromEntries(answer.headers);
    return {
      status: answer.status,
      headers: { 'content-type': type, 'x-amzn-requestid': id },
      body: Buffer.from(await answer.arrayBuffer()),
    };
  }

  return Object.assign(await startFakeServer({ handler, tls }), {
    calls,
    intercept(answer: (call: PassingCall) => FakeAnswer | undefined = () => undefined) {
      answerOf = answer;
    },
  });
}
