import { beforeEach, expect, test } from '@jest/globals';
import { SecretError } from '../../core/errors.ts';
import type { DeliverContext } from '../delivery/deliver.ts';
import { SwarmReadLimits } from './swarm-read-limits.ts';

let at: number;
/** The limits of all reads, in milliseconds. */
let asked: number[];
let reads: SwarmReadLimits;

beforeEach(() => {
  at = 1_000_000;
  asked = [];
  reads = new SwarmReadLimits(
    {
      run: (ms, _, work) => {
        asked.push(ms);
        return work({} as DeliverContext);
      },
    },
    () => at,
  );
});

/** A read of this length. @param failure Default: it succeeds */
const read = (ms: number, failure?: SecretError): Promise<string> =>
  reads.run(new AbortController().signal, async () => {
    at += ms;
    if (failure !== undefined) throw failure;
    return 'value';
  });
const deadline = (message: string): SecretError => new SecretError('DEADLINE', message);

test('a read has 5 s', async () => {
  await read(1_900);
  await read(1_900);
  expect(asked).toEqual([5_000, 5_000]);
});

test('after a read that was slow, reads are short for 20 s', async () => {
  await read(2_000);
  await read(100);
  at += 19_000;
  await read(100);
  at += 1_000;
  await read(100);
  expect(asked).toEqual([5_000, 300, 300, 5_000]);
});

test('a short read that does not end has the cause of the slow one', async () => {
  await expect(read(5_000, deadline('within 5 s'))).rejects.toThrow('within 5 s');
  await expect(read(300, deadline('within 0.3 s'))).rejects.toThrow('within 5 s');
  const denied = new SecretError('NOT_GRANTED', 'no grant');
  await expect(read(1, denied)).rejects.toThrow('no grant');
});

test('a short read that does not end after a slow success says so itself', async () => {
  await read(2_500);
  await expect(read(300, deadline('within 0.3 s'))).rejects.toThrow('within 0.3 s');
});

test('a failure that comes at once leaves the next reads their time', async () => {
  await expect(read(1, new SecretError('OBJECT_NOT_FOUND', 'absent'))).rejects.toThrow('absent');
  await read(1);
  expect(asked).toEqual([5_000, 5_000]);
});
