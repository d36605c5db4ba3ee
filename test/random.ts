import { createHash } from 'node:crypto';

/** Numbers between 0 and 1, the same in every run. */
export function createRandom(seed: string): () => number {
  let state = createHash('sha256').update(seed).digest();
  return () => {
    state = createHash('sha256').update(state).digest();
    return state.readUInt32BE() / 2 ** 32;
  };
}
