import { type SecretError, toSecretError } from '../../core/errors.ts';
import type { HostStore } from '../../core/host-store.ts';
import {
  type FileRequest,
  type PlanResult,
  type SecretRef,
  type Selector,
  refKey,
} from '../../core/plan.ts';
import type { Parameters } from '../../core/workload.ts';

/** One field of one secret, and the file of the volume that gets it. */
export type SecretItem = {
  readonly file: string;
  /** The path of a reference. */
  readonly path: string;
  /** Absent: the whole text, or the value of an object's only key. */
  readonly field?: string;
  /** The whole text, if the secret is no JSON object. */
  readonly orWhole?: true;
};

/** What authorization needs to know of a plan: the paths by which its refs were named. */
export type HostPlan = { readonly pathsOf: ReadonlyMap<SecretRef, readonly string[]> };

const parameter = 'items';

/** The parameters of a mount that reads these. */
export function toParameters(items: readonly SecretItem[]): Parameters {
  return { [parameter]: JSON.stringify(items) };
}

/**
 * Makes a plan of the parameters. Equal refs become one, so that a user and a password of one
 * dynamic credential match.
 */
export function planItems(
  parameters: Parameters,
  { refFor }: Pick<HostStore, 'refFor'>,
): PlanResult<HostPlan> {
  const items = JSON.parse(parameters[parameter] ?? '[]') as readonly SecretItem[];
  const refs = new Map<string, SecretRef>();
  const pathsOf = new Map<SecretRef, string[]>();
  const faults = new Map<string, SecretError>();
  const files = items.flatMap((item): readonly FileRequest[] => {
    try {
      const made = refFor(item.path);
      const ref = refs.get(refKey(made)) ?? made;
      refs.set(refKey(ref), ref);
      const paths = pathsOf.get(ref) ?? [];
      if (!paths.includes(item.path)) pathsOf.set(ref, [...paths, item.path]);
      return [toFile(item, ref)];
    } catch (thrown) {
      faults.set(item.path, toSecretError(thrown));
      return [];
    }
  });
  const problems = Array.from(faults.values(), ({ code, message, hint }) => ({
    ...({ severity: 'error', code, message } as const),
    ...(hint !== undefined && { hint }),
  }));
  if (problems.length > 0) return { problems };
  return { plan: { refs: [...refs.values()], files, login: { pathsOf } }, problems };
}

function toFile(item: SecretItem, ref: SecretRef): FileRequest {
  const source = { ref, selector: selectorOf(item) };
  return { path: item.file, sources: { value: source }, encoding: 'utf-8' };
}

function selectorOf({ field, orWhole }: SecretItem): Selector {
  if (field === undefined) return { kind: orWhole === true ? 'whole' : 'sole' };
  return orWhole === true
    ? { kind: 'key-or-whole', key: field }
    : { kind: 'key-or-jmespath', text: field };
}
