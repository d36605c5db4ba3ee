import type { Redacted } from '../../core/redacted.ts';
import type { StoreType } from '../../core/host-store.ts';
import type { FoundValue } from './find-values.ts';
import { slugOf } from './secret-names.ts';

/** The store that gets the values, as references name it. */
export type Target = {
  readonly type: StoreType;
  /** Its name, if references must have it. */
  readonly store?: string;
  /** The first element of the paths. */
  readonly prefix: string;
  /** `vault`, `openbao`: the mount of the KV engine, which has version 2. */
  readonly mount: string;
};

/** A secret that the store gets. */
export type NewSecret = {
  /** Its name in the store. For Vault: the path below the mount. */
  readonly name: string;
  /** What a reference names: for Vault, the path of the API. */
  readonly path: string;
  readonly field?: string;
  /** As the store gets it. */
  readonly value: Redacted<Uint8Array>;
  readonly uses: readonly FoundValue[];
};

/** The field of a secret that must be an object. */
export const valueField = 'value';

/** Names the secrets. Equal values of one variable are one secret. */
export function nameSecrets(found: readonly FoundValue[], target: Target): readonly NewSecret[] {
  const keys = new Map<string, string>();
  const groups = new Map<string, FoundValue[]>();
  for (const value of found) {
    // One place has one reference, also if several services use it.
    const key = keys.get(value.place.id) ?? value.key;
    keys.set(value.place.id, key);
    groups.set(key, [...(groups.get(key) ?? []), value]);
  }
  const taken = new Set<string>();
  return [...groups].flatMap(([key, group]) => {
    const byValue = new Map<string, FoundValue[]>();
    for (const value of group) {
      const digest = Buffer.from(value.value.reveal()).toString('base64');
      byValue.set(digest, [...(byValue.get(digest) ?? []), value]);
    }
    return [...byValue.values()].flatMap((uses): readonly NewSecret[] => {
      const [first] = uses;
      if (first === undefined) return [];
      const elements = byValue.size === 1 ? [slugOf(key)] : [slugOf(first.service), slugOf(key)];
      const name = unusedName([target.prefix, ...elements], target.type, taken);
      taken.add(name);
      return [{ name, ...pathOf(name, first.value.reveal(), target), value: first.value, uses }];
    });
  });
}

/** Huawei Cloud allows no `/`: https://support.huaweicloud.com/intl/en-us/api-dew/CreateSecret.html */
function unusedName(
  elements: readonly string[],
  type: StoreType,
  taken: ReadonlySet<string>,
): string {
  const base = elements.filter((element) => element !== '').join(type === 'huawei' ? '.' : '/');
  let name = base;
  for (let number = 2; taken.has(name); number += 1) name = `${base}-${number}`;
  return name;
}

function pathOf(
  name: string,
  value: Uint8Array,
  { type, mount }: Target,
): Pick<NewSecret, 'path' | 'field'> {
  if (type === 'vault' || type === 'openbao')
    return { path: `${mount}/data/${name}`, field: valueField };
  // A reference to an object with one key means the value of the key.
  return hasOneKey(value) ? { path: name, field: valueField } : { path: name };
}

function hasOneKey(value: Uint8Array): boolean {
  const text = Buffer.from(value).toString();
  if (!text.trimStart().startsWith('{')) return false;
  try {
    return Object.keys(JSON.parse(text) as object).length === 1;
  } catch {
    return false;
  }
}

/** What the store gets: the value, or an object that has it as the field. */
export function storedBytes({ field, value }: NewSecret, { type }: Target): Uint8Array {
  const isVault = type === 'vault' || type === 'openbao';
  if (field === undefined || isVault) return value.reveal();
  return Buffer.from(JSON.stringify({ [field]: Buffer.from(value.reveal()).toString() }));
}

/** The reference to a secret, as a variable has it. */
export function referenceTo(
  { path, field }: NewSecret,
  kind: FoundValue['kind'],
  { store }: Target,
): string {
  const scheme = kind === 'file' ? 'dsofile' : 'dso';
  const first = store === undefined ? '' : `${store}/`;
  return `${scheme}://${first}${path}${field === undefined ? '' : `#${field}`}`;
}
