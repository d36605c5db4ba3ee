import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../../core/errors.ts';
import { grant } from '../../../core/grant.ts';
import type { SecretRef } from '../../../core/plan.ts';
import type { FetchRequest, FetchResult } from '../../../core/provider.ts';
import type { CallContext } from './authenticated-call.ts';
import { type BatchReading, readInBatches } from './batches.ts';

type RequestFields = Partial<SecretRef> & {
  readonly principal?: string;
  readonly namespace?: string;
  readonly urgency?: 'first' | 'refresh';
};

function request({
  principal = 'p',
  namespace = 'n',
  urgency = 'first',
  ...ref
}: RequestFields): FetchRequest {
  return {
    ...{ urgency, signal: new AbortController().signal, onStart: () => undefined },
    grant: grant({
      ref: { service: 'kms', name: 'a', ...ref },
      principal: {
        ...{ fingerprint: principal, description: principal, kind: 'own' },
        credentials: () => Promise.resolve({}),
      },
      workload: {
        ...{ tenant: namespace, identity: { name: 'app' }, instance: 'pod', volume: 'pod' },
        ...{ tokens: new Map(), secrets: new Map() },
      },
    }),
  };
}

const value = (text: string): FetchResult => ({
  kind: 'value',
  value: { bytes: Buffer.from(text) },
});
const nameOf = ({ grant: { ref } }: FetchRequest): string => ref.name;

/** Which names were read together, and which alone. */
async function read(
  requestFields: readonly RequestFields[],
  overrides: Partial<BatchReading<unknown>> = {},
) {
  const together: string[][] = [];
  const alone: string[] = [];
  const requests = requestFields.map(request);
  const resultByRequest = readInBatches(requests, {
    max: 3,
    authenticatedCall: (_, call) => call({} as CallContext<unknown>),
    readBatch(batch) {
      together.push(batch.map(nameOf));
      return Promise.resolve(batch.map(() => value('together')));
    },
    readSingle(each) {
      alone.push(nameOf(each));
      return Promise.resolve(value('alone'));
    },
    ...overrides,
  });
  const results = await Promise.allSettled(requests.map(async (each) => resultByRequest.get(each)));
  return { together, alone, results };
}

describe('reading in batches', () => {
  test.each<[string, RequestFields]>([
    ['principals', { principal: 'q' }],
    ['namespaces', { namespace: 'm' }],
    ['urgencies', { urgency: 'refresh' }],
    ['regions', { region: 'cn-beijing' }],
    ['endpoints', { endpoint: 'kms.example.com' }],
  ])('never mixes %s', async (_, other) => {
    const requestFields = [{}, { name: 'b' }, { name: 'c', ...other }, { name: 'd', ...other }];
    expect((await read(requestFields)).together).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
  });

  test('fills batches without equal names, and reads the rest alone', async () => {
    const requestFields = ['a', 'b', 'c', 'd', 'd', 'd', 'd'].map((name) => ({ name }));
    const { together, alone } = await read(requestFields);
    expect(together).toEqual([
      ['d', 'a', 'b'],
      ['d', 'c'],
    ]);
    expect(alone).toEqual(['d', 'd']);
  });

  test.each([
    ['ACCESS_DENIED', ['a', 'b']],
    ['STORE_ANSWER_TOO_LARGE', ['a', 'b']],
    ['CREDENTIALS_REFUSED', []],
    ['STORE_THROTTLED', []],
    ['STORE_ANSWER_INVALID', []],
  ] as const)('after %s of a batch reads alone: %j', async (code, expected) => {
    const { alone, results } = await read([{}, { name: 'b' }], {
      readBatch: () => Promise.reject(new SecretError(code, 'no')),
    });
    expect(alone).toEqual(expected);
    const status = expected.length > 0 ? 'fulfilled' : 'rejected';
    expect(results.map((result) => result.status)).toEqual([status, status]);
  });
});
