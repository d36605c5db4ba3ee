import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { randomInt, randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { SecretError, toSecretError } from '../../src/core/errors.ts';
import type { FetchRequest, FetchResult, NodeFactsContext } from '../../src/core/provider.ts';
import { toStatus } from '../../src/csi/mount-handler.ts';
import { providers } from '../../src/providers/registry.ts';
import type { InjectedFault } from '../fakes/http-server.ts';
import { createMountPipeline } from '../fakes/mount-pipeline.ts';
import { type ConformanceEnvironment, environments } from './environments.ts';
import { runSteps } from '../../src/core/steps.ts';

const neverAborted = new AbortController().signal;
const factsContext: NodeFactsContext = {
  ...{ signal: neverAborted, run: async (steps) => runSteps(steps) },
};
const remoteProviders = Object.keys(providers).filter((name) => name !== 'local');

let environment: ConformanceEnvironment;
afterEach(() => environment.stop());

/** The requests of a class with these secrets, as the cache would send them. */
async function requestsFor(
  names: readonly string[],
  overrides: Partial<FetchRequest> = {},
): Promise<FetchRequest[]> {
  const { provider, workload } = environment;
  const parameters = environment.parameters(names);
  const nodeFacts = await provider.nodeFacts(parameters, factsContext);
  const { plan, problems } = runSteps(provider.plan(parameters, nodeFacts));
  if (plan === undefined) throw new Error(JSON.stringify(problems));
  const context = { signal: neverAborted, notBefore: Date.now() };
  const grants = await provider.authorize(workload, plan, context);
  const common = { urgency: 'first' as const, signal: neverAborted, onStart: () => undefined };
  return grants.map((grant) => ({ grant, ...common, ...overrides }));
}

async function read(
  names: readonly string[],
  overrides: Partial<FetchRequest> = {},
): Promise<readonly FetchResult[]> {
  return Promise.all(environment.provider.fetch(await requestsFor(names, overrides)));
}

function errorOf(result: FetchResult | undefined): SecretError {
  if (result === undefined || !('error' in result)) throw new Error(JSON.stringify(result));
  return result.error;
}

/** Everything of an error that can reach a log or an event. */
function everyTextOf(error: SecretError): string {
  const cause = error.cause instanceof Error ? [error.cause.message, error.cause.stack] : [];
  return [error.event, error.stack, ...cause, JSON.stringify(error)].join('\n');
}

function remoteOf({ remote }: ConformanceEnvironment) {
  if (remote === undefined) throw new Error('this provider has no server');
  return remote;
}

/** The status of a mount that fails, by a process that has mounted nothing before. */
async function mountStatus(names: readonly string[], logLines: string[] = []) {
  const { provider, workload, parameters } = environment;
  const log = pino({}, { write: (line) => void logLines.push(line) });
  const { volume } = createMountPipeline({ provider, now: Date.now, log });
  const texts = (secrets: Iterable<[string, { reveal(): string }]>) =>
    Object.fromEntries([...secrets].map(([key, secret]) => [key, secret.reveal()]));
  const pod = {
    tokens: texts([...workload.tokens].map(([audience, { token }]) => [audience, token])),
    secret: texts(workload.secrets),
  };
  return volume({ ...parameters(names) }, pod).then(
    () => {
      throw new Error('the mount did not fail');
    },
    (thrown: unknown) => toStatus(toSecretError(thrown)),
  );
}

/** The faults of a store, by what it does, each with the code of the error. */
const faults: readonly [what: string, fault: InjectedFault, code: RegExp][] = [
  ['breaks the connection', { reset: true }, /^STORE_UNAVAILABLE$/],
  ['breaks off within the body', { truncate: true }, /^STORE_(UNAVAILABLE|ANSWER_INVALID)$/],
  ['sends HTTP 500', { response: { status: 500, body: 'oops' } }, /^STORE_UNAVAILABLE$/],
  ['sends an empty success', { response: { body: '' } }, /^STORE_ANSWER_INVALID$/],
  ['sends a page', { response: { body: '<html>sign in</html>' } }, /^STORE_ANSWER_INVALID$/],
  ['sends JSON of another kind', { response: { body: [1, 'x'] } }, /^STORE_ANSWER_INVALID$/],
  ['sends bytes that are not text', { response: { body: Buffer.alloc(64, 0xff) } }, /^STORE_/],
];

/** An error whose text, id and headers differ with each request, in the form of every store. */
function varyingError(status: number) {
  const id = randomUUID();
  const at = new Date(Date.now() + randomInt(1e9)).toISOString();
  const [port, took] = [randomInt(10_000, 60_000), (randomInt(1_000, 9_999) / 1_000).toFixed(3)];
  const text = `${id} at ${at}: read tcp 10.0.0.7:${port}->10.0.0.9:5432 after ${took}s`;
  const headers = { 'x-request-id': id, 'x-amzn-requestid': id, 'x-acs-request-id': id, date: at };
  const body = {
    ...{ error_code: 'X.1', error_msg: text, Code: 'X', Message: text, RequestId: id },
    ...{ __type: 'X', message: text, errors: [text], request_id: id },
  };
  return { status, headers: { ...headers, 'x-vault-request-id': id }, body };
}

const varyingErrors = [400, 401, 403, 404, 429, 500, 503].map(
  (status): [what: string, fault: InjectedFault] => [
    `sends HTTP ${status} with an id, a time and a port of its own`,
    { response: () => varyingError(status) },
  ],
);

test('every provider of the registry is tried here', () => {
  environment = { stop: () => Promise.resolve() } as ConformanceEnvironment;
  expect(Object.keys(environments).sort()).toEqual(Object.keys(providers).sort());
});

describe.each(Object.keys(environments))('provider %s', (name) => {
  beforeEach(async () => {
    environment = await environments[name]!();
    for (const secret of ['first', 'second', 'third'])
      await environment.put(secret, `value of ${secret}`);
  });

  test('returns one result for each request, in the order of the requests', async () => {
    const results = await read(['third', 'first', 'second']);
    const texts = results.map((result) =>
      result.kind === 'value'
        ? /value of \w+/.exec(Buffer.from(result.value.bytes).toString())?.[0]
        : result,
    );
    expect(texts).toEqual(['value of third', 'value of first', 'value of second']);
  });

  test('tells an absent secret from a failure, and names it with the remedy', async () => {
    const [present, absent] = await read(['first', 'absent']);
    expect([present?.kind, absent?.kind]).toEqual(['value', 'absent']);
    const error = errorOf(absent);
    expect(error.code).toBe('OBJECT_NOT_FOUND');
    expect(error.message).toContain('absent');
  });

  test('grants nothing to a workload without rights, and says how to get them', async () => {
    const { provider, stranger } = environment;
    const parameters = environment.parameters(['first']);
    const nodeFacts = await provider.nodeFacts(parameters, factsContext);
    const { plan } = runSteps(provider.plan(parameters, nodeFacts));
    const context = { signal: neverAborted, notBefore: Date.now() };
    const refused = await Promise.resolve(provider.authorize(stranger, plan!, context)).catch(
      (thrown: unknown) => thrown,
    );
    expect(refused).toBeInstanceOf(SecretError);
    expect((refused as SecretError).hint).toEqual(expect.stringMatching(/\w{3,}/));
  });

  test('observes a signal that has fired: every result fails with its reason, none rejects', async () => {
    const requests = await requestsFor(['first', 'second']);
    const reason = new SecretError('CANCELLED', 'the caller left');
    const results = await Promise.all(
      environment.provider.fetch(
        requests.map((request) => ({ ...request, signal: AbortSignal.abort(reason) })),
      ),
    );
    expect(results.map((result) => errorOf(result).code)).toEqual(['CANCELLED', 'CANCELLED']);
  });
});

describe.each(remoteProviders)('provider %s, in front of a store that misbehaves', (name) => {
  beforeEach(async () => {
    environment = await environments[name]!();
    for (const secret of ['first', 'second', 'third'])
      await environment.put(secret, `value of ${secret}`);
    // Logins are done: what follows is about reads.
    await read(['third']);
  });

  test('a denied secret fails, the others are read', async () => {
    remoteOf(environment).deny('second');
    const results = await read(['first', 'second']);
    expect(results.map(({ kind }) => kind)).toEqual(['value', 'failed']);
    const { code, message, hint } = errorOf(results[1]);
    expect(code).toBe('ACCESS_DENIED');
    expect(message).toContain('second');
    expect(hint).toEqual(expect.stringMatching(/\w{3,}/));
  });

  test.each(faults)('fails without a rejection when the store %s', async (_, fault, code) => {
    const { server, reads } = remoteOf(environment);
    server.injectFault({ route: reads, ...fault });
    const results = await read(['first', 'second']);
    for (const [index, secret] of ['first', 'second'].entries()) {
      const error = errorOf(results[index]);
      expect(error.code).toMatch(code);
      expect(results[index]?.kind).toBe('failed');
      expect(error.message).toContain(secret);
    }
  });

  test.each<[string, InjectedFault | 'denial' | 'absence']>([
    ...faults.map(([what, fault]): [string, InjectedFault] => [what, fault]),
    ...varyingErrors,
    ['denies the secret', 'denial'],
    ['has no such secret', 'absence'],
  ])('gives the same status, byte for byte, each time the store %s', async (_, fault) => {
    const { server, reads, deny } = remoteOf(environment);
    if (fault === 'denial') deny('second');
    else if (fault !== 'absence') server.injectFault({ route: reads, ...fault });
    const names = fault === 'absence' ? ['first', 'absent'] : ['first', 'second'];
    const statuses = [await mountStatus(names), await mountStatus(names)];
    expect(statuses[1]).toEqual(statuses[0]);
    expect(statuses[0]?.text).toMatch(/^[A-Z_]+: .{10}/);
  });

  test('gives the request id of the store to the log, and to the status not', async () => {
    const { server, reads } = remoteOf(environment);
    const id = 'request-0815';
    const headers = { 'x-request-id': id, 'x-amzn-requestid': id, 'x-acs-request-id': id };
    const body = { error_code: 'X.1', Code: 'X', __type: 'X', errors: ['no'], message: 'no' };
    server.injectFault({ route: reads, response: { status: 400, headers, body } });
    const lines: string[] = [];
    const status = await mountStatus(['first'], lines);
    expect(status.text).not.toContain(id);
    // A response of Vault has no header with its request id.
    const hasId = name !== 'vault' && name !== 'openbao';
    expect(lines.some((line) => line.includes(`"requestId":"${id}"`))).toBe(hasId);
  });

  test('ends at once when the signal fires while the store does not respond', async () => {
    const { server, reads } = remoteOf(environment);
    // The first read of a Vault path can issue a lease, so the provider waits for it. A KV read
    // cannot.
    await read(['first']);
    server.injectFault({ route: reads, hang: true });
    const before = server.count(reads);
    const caller = new AbortController();
    const pending = read(['first'], { signal: caller.signal });
    while (server.count(reads) === before) await new Promise((resolve) => setTimeout(resolve, 1));
    caller.abort(new SecretError('CANCELLED', 'the caller left'));
    const [result] = await pending;
    expect(errorOf(result).code).toBe('CANCELLED');
  });

  test('retries what is transient, and each attempt pays the rate limiter', async () => {
    const { server, reads, throttled, limiterWaits } = remoteOf(environment);
    const before = { calls: server.count(reads), waits: await limiterWaits() };
    server.injectFault({ route: reads, times: 2, response: throttled });
    const [result] = await read(['first']);
    expect(result?.kind).toBe('value');
    expect(server.count(reads) - before.calls).toBe(3);
    expect((await limiterWaits()) - before.waits).toBe(3);
  });

  test.each(['throttles', 'responds with 503', 'breaks every connection'])(
    'retries a first mount as long as its patience lasts when the store %s',
    async (failure) => {
      const { server, reads, throttled } = remoteOf(environment);
      // What the provider learns about a read: the first one of a Vault path can issue a lease.
      await read(['first']);
      const fault = {
        throttles: { response: throttled },
        'responds with 503': { response: { status: 503, body: 'upstream connect error' } },
        'breaks every connection': { reset: true },
      }[failure]!;
      const before = server.count(reads);
      server.injectFault({ route: reads, times: 6, ...fault });
      const [result] = await read(['first'], { patience: () => 20_000 });
      expect(result?.kind).toBe('value');
      expect(server.count(reads) - before).toBeGreaterThan(6);
    },
  );

  test('does not call again when the store requests a pause that is too long', async () => {
    const { server, reads, throttled } = remoteOf(environment);
    const before = server.count(reads);
    const headers = { ...throttled.headers, 'retry-after': '60' };
    server.injectFault({ route: reads, response: { ...throttled, headers } });
    const [result] = await read(['first']);
    expect(errorOf(result)).toMatchObject({ code: 'STORE_THROTTLED', retryAfterMs: 60_000 });
    expect(server.count(reads) - before).toBe(1);
  });

  test.each([400, 401, 403, 404, 429, 500, 503])(
    'shows no secret when HTTP %d echoes the request',
    async (status) => {
      const { server, reads } = remoteOf(environment);
      await read(['first']);
      const sent = [...server.requests];
      const echoed = sent.map(({ headers, body }) => JSON.stringify([headers, body.toString()]));
      const authorization = sent.flatMap(({ headers }) => [
        headers.authorization ?? [],
        headers['x-vault-token'] ?? [],
        headers['x-security-token'] ?? [],
        headers['x-amz-security-token'] ?? [],
        headers['x-acs-security-token'] ?? [],
      ]);
      // The secrets come first, because messages show the beginning of a text.
      const text = [...authorization.flat(), ...echoed].join(' ');
      const line = text.slice(0, 4_000);
      // Once in the text alone, and once in all that a message shows of a response.
      for (const [code, headers] of [
        ['X', {}],
        [text, { 'x-request-id': line, 'x-amzn-requestid': line, 'x-acs-request-id': line }],
      ] as const) {
        const body = {
          ...{ error_code: code, error_msg: text, Code: code, Message: text, RequestId: code },
          ...{ __type: code, message: text, errors: [text], request_id: code },
        };
        server.injectFault({ route: reads, response: { status, headers, body } });
        const [result] = await read(['second']);
        const shown = everyTextOf(errorOf(result));
        for (const secret of [...environment.secrets, ...authorization.flat()])
          expect(shown).not.toContain(secret);
      }
    },
  );

  test('calls onStart before it sends the first read', async () => {
    const { server, reads } = remoteOf(environment);
    const before = server.count(reads);
    const countsAtStart: number[] = [];
    const onStart = (): void => void countsAtStart.push(server.count(reads) - before);
    await read(['first'], { onStart });
    expect(countsAtStart[0]).toBe(0);
  });
});
