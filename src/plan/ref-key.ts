import { refKey, type SecretRef } from './plan.ts';

/** Keys of refs, each made once: plans are kept, so a mount that is repeated meets the very refs of the last one. */
export function createRefKeys(): (ref: SecretRef) => string {
  const keys = new WeakMap<SecretRef, string>();
  return (ref) => {
    let key = keys.get(ref);
    if (key === undefined) {
      key = refKey(ref);
      keys.set(ref, key);
    }
    return key;
  };
}
