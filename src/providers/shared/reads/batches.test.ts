import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../../core/errors.ts';
import { grant } from '../../../core/grant.ts';
import type { SecretRef } from '../../../core/plan.ts';
import type { FetchRequest, FetchResult } from '../../../core/provider.ts';
import type { Asker } from './authenticated-call.ts';
import { type BatchReading, readInBatches } from './batches.ts';

type Asked = Partial<SecretRef> & {
  readonly principal?: string;
  readonly namespace?: string;
  readonly urgency?: 'first' | 'refresh';
};

function request({ principal = 'p', namespace = 'n', urgency = 'first', ...ref }: Asked): FetchRequest {
  return {
    ...{ urgency, signal: new AbortController().signal, onStart: () => undefined },
    grant: grant({
      ref: { service: 'kms', name: 'a', ...ref },
      principal: {
        ...{ fingerprint: principal, description: principal, identity: 'own' },
        credentials: () => Promise.resolve({}),
      },
      workload: {
        ...{ namespace, serviceAccount: { name: 'app' }, instance: 'pod', volume: 'pod' },
        ...{ tokens: new Map(), secrets: new Map() },
      },
    }),
  };
}

const value = (text: string): FetchResult => ({ kind: 'value', value: { bytes: Buffer.from(text) } });
const nameOf = ({ grant: { ref } }: FetchRequest): string => ref.name;

/** What is asked together, and what alone, for answers like `{ a: 'together' }`. */
async function read(asked: readonly Asked[], over: Partial<BatchReading<unknown>> = {}) {
  const together: string[][] = [];
  const alone: string[] = [];
  const requests = asked.map(request);
  const answers = readInBatches(requests, {
    max: 3,
    attempts: (_, call) => call({} as Asker<unknown>),
    together(batch) {
      together.push(batch.map(nameOf));
      return Promise.resolve(batch.map(() => value('together')));
    },
    alone(each) {
      alone.push(nameOf(each));
      return Promise.resolve(value('alone'));
    },
    ...over,
  });
  const results = await Promise.allSettled(requests.map(async (each) => answers.get(each)));
  return { together, alone, results };
}

describe('reading in batches', () => {
  test.each<[string, Asked]>([
    ['principals', { principal: 'q' }],
    ['namespaces', { namespace: 'm' }],
    ['urgencies', { urgency: 'refresh' }],
    ['regions', { region: 'cn-beijing' }],
    ['endpoints', { endpoint: 'kms.example.com' }],
  ])('never mixes %s', async (_, other) => {
    const asked = [{}, { name: 'b' }, { name: 'c', ...other }, { name: 'd', ...other }];
    expect((await read(asked)).together).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
  });

  test('fills calls, with one of each name, and asks for who is left over alone', async () => {
    const asked = ['a', 'b', 'c', 'd', 'd', 'd', 'd'].map((name) => ({ name }));
    const { together, alone } = await read(asked);
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
  ] as const)('after %s of all asks alone for %j', async (code, wanted) => {
    const { alone, results } = await read([{}, { name: 'b' }], {
      together: () => Promise.reject(new SecretError(code, 'no')),
    });
    expect(alone).toEqual(wanted);
    const status = wanted.length > 0 ? 'fulfilled' : 'rejected';
    expect(results.map((result) => result.status)).toEqual([status, status]);
  });
});
