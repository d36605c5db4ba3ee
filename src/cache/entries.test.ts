import { describe, expect, test } from '@jest/globals';
import { createScriptedProvider, grantOf } from '../../test/fakes/scripted-provider.ts';
import { type Entry, EntryCache } from './entries.ts';

const provider = createScriptedProvider();
const unit = 8 * 1_024;

/** An entry counted as `size` bytes. */
function entryOf(key: string, size: number, { namespace = 'team', leased = false } = {}): Entry {
  return {
    key,
    provider,
    namespace,
    ...(leased && { grant: grantOf({ namespace }) }),
    value: {
      bytes: new Uint8Array(size - 2_048 - (leased ? 4_096 : 0) - 2 * key.length),
      ...(leased && { lease: { id: key, renewable: true, expiresAt: 0 } }),
    },
    deliveredAt: 0,
    freshUntil: 0,
    requestedAt: 0,
  };
}

const keysOf = (cache: { entries(): Iterable<Entry> }) =>
  [...cache.entries()].map(({ key }) => key).sort();

describe('an entry cache', () => {
  test('counts content, documents at two bytes per character, keys, and a fixed part', () => {
    const cache = new EntryCache({ maxBytes: 100 * unit });
    const entry = entryOf('key', 3_000);
    cache.put(entry);
    expect(cache.bytes).toBe(3_000);
    cache.put({ ...entry, value: { ...entry.value!, document: 'x'.repeat(50) } });
    expect(cache.bytes).toBe(3_100);
    cache.put({ ...entryOf('absent', 3_000), value: undefined } as never);
    expect(cache.bytes).toBe(3_100 + 2_048 + 12);
    cache.drop('key');
    cache.drop('absent');
    cache.drop('never there');
    expect(cache.bytes).toBe(0);
    expect(keysOf(cache)).toEqual([]);
  });

  test('replaces the entry with the same key, also from another namespace', () => {
    const cache = new EntryCache({ maxBytes: 10 * unit });
    cache.put(entryOf('key', 4 * unit, { namespace: 'a' }));
    cache.put(entryOf('key', 2 * unit, { namespace: 'b' }));
    expect(cache.bytes).toBe(2 * unit);
    // The replaced entry no longer counts for `a`.
    for (const key of ['1', '2', '3', '4']) cache.put(entryOf(key, 2 * unit, { namespace: 'a' }));
    expect(keysOf(cache)).toEqual(['1', '2', '3', '4', 'key']);
  });

  test('never exceeds its bound, and evicts the least recently used entry', () => {
    const cache = new EntryCache({ maxBytes: 10 * unit });
    for (let index = 0; index < 10; index++) cache.put(entryOf(`${index}`, unit));
    expect(cache.bytes).toBe(10 * unit);
    cache.touch(cache.get('0')!, 1_000, true);
    cache.put(entryOf('new', 2 * unit));
    expect(cache.bytes).toBe(10 * unit);
    expect(keysOf(cache)).toEqual(['0', '3', '4', '5', '6', '7', '8', '9', 'new']);
  });

  test('keeps no entry that is larger than its bound', () => {
    const cache = new EntryCache({ maxBytes: 10 * unit });
    cache.put(entryOf('large', 11 * unit));
    expect(cache.bytes).toBe(0);
    expect(cache.get('large')).toBeUndefined();
  });

  test('lets one namespace fill it while no other needs the space', () => {
    const cache = new EntryCache({ maxBytes: 16 * unit });
    for (let index = 0; index < 16; index++)
      cache.put(entryOf(`${index}`, unit, { namespace: 'greedy' }));
    expect(cache.bytes).toBe(16 * unit);
  });

  test('evicts nothing of a namespace within its quarter for one above its quarter', () => {
    const cache = new EntryCache({ maxBytes: 16 * unit });
    for (let index = 0; index < 4; index++)
      cache.put(entryOf(`modest ${index}`, unit, { namespace: 'modest' }));
    for (const namespace of ['greedy', 'greedier']) {
      for (let index = 0; index < 40; index++)
        cache.put(entryOf(`${namespace} ${index}`, unit, { namespace }));
    }
    expect(cache.bytes).toBe(16 * unit);
    expect(keysOf(cache).filter((key) => key.startsWith('modest'))).toHaveLength(4);
  });

  test('frees space for a namespace within its quarter from the one that holds most', () => {
    const cache = new EntryCache({ maxBytes: 16 * unit });
    for (let index = 0; index < 16; index++)
      cache.put(entryOf(`greedy ${index}`, unit, { namespace: 'greedy' }));
    for (let index = 0; index < 4; index++)
      cache.put(entryOf(`modest ${index}`, unit, { namespace: 'modest' }));
    const remainingKeys = keysOf(cache);
    expect(remainingKeys.filter((key) => key.startsWith('modest'))).toHaveLength(4);
    expect(remainingKeys.filter((key) => key.startsWith('greedy'))).toHaveLength(12);
  });
});

describe('leased entries', () => {
  const exhausted = expect.objectContaining({ code: 'LEASES_EXHAUSTED' }) as unknown as Error;
  const lease = (key: string, namespace = 'team') =>
    entryOf(key, unit, { namespace, leased: true });

  test('are never evicted', () => {
    const cache = new EntryCache({ maxBytes: 16 * unit });
    for (let index = 0; index < 4; index++) cache.put(lease(`lease ${index}`));
    for (let index = 0; index < 40; index++)
      cache.put(entryOf(`${index}`, unit, { namespace: 'greedy' }));
    for (let index = 0; index < 40; index++) cache.put(entryOf(`same ${index}`, unit));
    expect(keysOf(cache).filter((key) => key.startsWith('lease'))).toHaveLength(4);
    expect(cache.bytes).toBe(16 * unit);
  });

  test('may fill a quarter per namespace; the next one is refused and changes nothing', () => {
    const cache = new EntryCache({ maxBytes: 16 * unit });
    cache.put(entryOf('plain', unit));
    for (let index = 0; index < 4; index++) cache.put(lease(`${index}`));
    const before = keysOf(cache);
    expect(() => cache.put(lease('next'))).toThrow(exhausted);
    expect(keysOf(cache)).toEqual(before);
    expect(cache.bytes).toBe(5 * unit);
    cache.put(lease('other', 'other'));
    cache.drop('0');
    cache.put(lease('next'));
  });

  test('can be renewed in a full quarter', () => {
    const cache = new EntryCache({ maxBytes: 16 * unit });
    for (let index = 0; index < 4; index++) cache.put(lease(`${index}`));
    cache.put(lease('0'));
    expect(cache.bytes).toBe(4 * unit);
  });

  test('include an entry that becomes leased, and exclude one that is no longer leased', () => {
    const cache = new EntryCache({ maxBytes: 16 * unit });
    for (let index = 0; index < 4; index++) cache.put(entryOf(`${index}`, unit));
    for (let index = 0; index < 4; index++) cache.put(lease(`${index}`));
    expect(() => cache.put(lease('next'))).toThrow(exhausted);
    cache.put(entryOf('0', unit));
    cache.put(lease('next'));
  });

  test('of all namespaces together never exceed the bound of the cache', () => {
    const cache = new EntryCache({ maxBytes: 16 * unit });
    for (const namespace of ['a', 'b', 'c', 'd']) {
      for (let index = 0; index < 4; index++) cache.put(lease(`${namespace} ${index}`, namespace));
    }
    expect(() => cache.put(lease('e', 'e'))).toThrow(exhausted);
    expect(cache.bytes).toBe(16 * unit);
    cache.put(lease('a 0', 'a'));
    cache.drop('a 0');
    cache.put(lease('e', 'e'));
    expect(cache.bytes).toBe(16 * unit);
  });
});
