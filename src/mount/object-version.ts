import { createHash, createHmac } from 'node:crypto';
import type { FileRequest, Selector } from '../plan/plan.ts';
import type { SecretValue } from '../providers/provider.ts';

/**
 * A file's version: it changes whenever the file's bytes do, and otherwise only with its selector, encoding or explicit mode.
 *
 * - A whole secret as it is stored, without a mode of its own: the store's version, bare.
 * - Any other file: that, `+` and 8 hex digits of a hash over selector, encoding and mode. Where the store's numbers can start again, their time
 *   of modification joins the hash, for whole files too.
 * - In place of a version the store has not, or that says too little (a Vault envelope): a keyed hash of the file's bytes. A plain one would let a reader
 *   of the pod's status guess short secrets.
 */
export function objectVersion(
  { encoding, mode }: FileRequest,
  selector: Selector,
  { version, envelope, modified }: SecretValue,
  contents: Uint8Array,
  versionKey: Uint8Array,
): string {
  const isWhole = selector.kind === 'whole';
  const base =
    version === undefined || (envelope && isWhole)
      ? createHmac('sha256', versionKey).update(contents).digest('hex').slice(0, 32)
      : version;
  if (isWhole && encoding === 'utf-8' && mode === undefined && modified === undefined) return base;
  const selection = JSON.stringify([...describe(selector), encoding, mode ?? null, modified ?? null]);
  return `${base}+${createHash('sha256').update(selection).digest('hex').slice(0, 8)}`;
}

function describe(selector: Selector): readonly [kind: string, text: string] {
  switch (selector.kind) {
    case 'whole':
      return [selector.kind, ''];
    case 'key':
      return [selector.kind, selector.key];
    case 'jmespath':
      return [selector.kind, selector.expression];
    case 'key-or-jmespath':
      return [selector.kind, selector.text];
  }
}
