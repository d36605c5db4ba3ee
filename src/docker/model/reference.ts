import { sanitizeUserText } from '../../core/safe-text.ts';
import { checkField, checkSecretPath, maxReferenceLength } from '../config/secret-name.ts';
import type { DsoConfig } from '../config/types.ts';

/** A secret, or a field of one. */
export type DsoRef = {
  /** The store's name in dso.yaml. Absent: dso.yaml names no store. */
  readonly provider?: string;
  /** The name in the store, or the path of its API. */
  readonly path: string;
  /** A key of the JSON object. Absent: the whole text, or the value of an object's only key. */
  readonly field?: string;
  /** A mapping of dso.yaml: the whole text, if the secret is no JSON object. */
  readonly orWhole?: true;
};

/** `dso://...` is the value of a variable, `dsofile://...` a file whose path is the value. */
export type Reference = { readonly kind: 'variable' | 'file'; readonly ref: DsoRef };

/** Why a text is not a valid reference, and the remedy. Safe to show. */
export type ReferenceFault = { readonly fault: string; readonly hint: string };

/** The scheme of each kind. */
const schemes = { variable: 'dso', file: 'dsofile' } as const;

/** Whether a reference stands anywhere in the text. */
export function mentionsReference(text: string): boolean {
  return /dso(file)?:\/\//i.test(text);
}

/**
 * Parses the value of a variable: `dso://path#field` or, with the name of a store of dso.yaml,
 * `dso://STORE/path#field`; for files `dsofile://`. Undefined for any other text.
 */
export function parseReference(
  text: string,
  config: DsoConfig,
): Reference | ReferenceFault | undefined {
  // The path of a hostile reference can have a megabyte.
  const [, scheme = '', slashes = '', rest = ''] = /^(dsofile|dso):(\/+)([^]*)$/i.exec(text) ?? [];
  const isReference = scheme !== '';
  if (!isReference && !mentionsReference(text)) return undefined;
  if (text.length > maxReferenceLength)
    return {
      fault: `a reference of ${text.length} characters is too long`,
      hint: `use at most ${maxReferenceLength}`,
    };
  if (!isReference || mentionsReference(rest))
    return {
      fault: 'the reference is a part of a longer text',
      hint: 'store the whole text as one secret, or use one variable for each part',
    };
  const kind = scheme.toLowerCase() === schemes.file ? 'file' : 'variable';
  const right = `${schemes[kind]}://`;
  if (rest !== '' && `${scheme}:${slashes}` !== right)
    return {
      fault: `a reference begins with ${right}, not with ${scheme}:${slashes.slice(0, 5)}`,
      hint: `write ${sanitizeUserText(right + rest)}`,
    };
  return parseTarget(rest, kind, config);
}

function parseTarget(
  target: string,
  kind: Reference['kind'],
  { providers, defaults }: DsoConfig,
): Reference | ReferenceFault {
  const [whole, hash, field] = splitOnce(target, '#');
  const [store, slash, inStore] = splitOnce(whole, '/');
  const isStoreNamed = slash && providers.has(store);
  const path = isStoreNamed ? inStore : whole;
  const example = `write it like ${schemes[kind]}://my-app/database#password`;
  const pathFault = checkSecretPath(path);
  if (pathFault !== undefined)
    return { fault: `the path ${sanitizeUserText(path)} ${pathFault}`, hint: example };
  const fieldFault = hash ? checkField(field) : undefined;
  if (fieldFault !== undefined)
    return { fault: `the field ${sanitizeUserText(field)} ${fieldFault}`, hint: example };
  const provider = isStoreNamed ? store : defaults.provider;
  if (provider === undefined && providers.size > 0) {
    const [first = ''] = providers.keys();
    return {
      fault: 'the reference names no store, and dso.yaml has several',
      hint: sanitizeUserText(
        `write ${schemes[kind]}://${first}/${target}, or defaults.provider in dso.yaml`,
      ),
    };
  }
  const ref = { ...(provider !== undefined && { provider }), path, ...(hash && { field }) };
  return { kind, ref };
}

/** The reference as a user writes it, with the store's name if there is one. */
export function formatReference({ kind, ref }: Reference): string {
  const store = ref.provider === undefined ? '' : `${ref.provider}/`;
  const field = ref.field === undefined ? '' : `#${ref.field}`;
  return `${schemes[kind]}://${store}${ref.path}${field}`;
}

function splitOnce(text: string, separator: string): readonly [string, boolean, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, false, ''] : [text.slice(0, at), true, text.slice(at + 1)];
}
