import type { ErrorCode } from './errors.ts';

/**
 * What to read from a store. Every field that is set is part of the ref's key, so refs with equal
 * keys share one read. `fallbacks` are read in order during an outage of this ref. They are not
 * part of the key.
 */
export type SecretRef = {
  /** The store's service: `csms`, `kms`, `oos`, `secretsmanager`, `ssm`, `vault`, `local`. */
  readonly service: string;
  /** The name of the secret as it is sent to the store. */
  readonly name: string;
  readonly region?: string;
  /** Host, or host and port, where the class names one. */
  readonly endpoint?: string;
  /** Role that the principal has to assume. */
  readonly role?: string;
  readonly version?: string;
  readonly stage?: string;
  /** For stores that have methods; default GET. */
  readonly method?: 'GET' | 'POST' | 'PUT';
  /** Canonical body of the request, for stores that accept one. */
  readonly body?: string;
  readonly fallbacks?: readonly SecretRef[];
};

/** How a file's content is extracted from a secret. */
export type Selector =
  /** The secret's bytes as the store has them. */
  | { readonly kind: 'whole' }
  /** A literal key of the JSON object. */
  | { readonly kind: 'key'; readonly key: string }
  /** A JMESPath expression over the JSON document. */
  | { readonly kind: 'jmespath'; readonly expression: string }
  /** A literal key; if there is no such key, a JMESPath expression. */
  | { readonly kind: 'key-or-jmespath'; readonly text: string }
  /** The value of the only key, if the secret is a JSON object with one key; else `whole`. */
  | { readonly kind: 'sole' }
  /** A literal key, if the secret is a JSON object; else `whole`. */
  | { readonly kind: 'key-or-whole'; readonly key: string };

/** How a selected text is encoded in the store. The file holds it decoded. `utf-8`: unchanged. */
export type Encoding = 'utf-8' | 'base64' | 'hex';

/** One part of a file's content: a selection from a secret. */
export type FileSource = {
  /** One of the plan's `refs`, the same object. */
  readonly ref: SecretRef;
  readonly selector: Selector;
};

/** One file of the volume. */
export type FileRequest = {
  /** Relative, clean path below the volume's root; see `checkFilePath` in formats/file-path.ts. */
  readonly path: string;
  /** Sources by name. Every file has exactly one source, named `value`. */
  readonly sources: Readonly<Record<string, FileSource>>;
  /** Permission bits, 0 to 0o777. Absent: the request's `permission`. */
  readonly mode?: number;
  readonly encoding: Encoding;
  /** The user allows an absent or disabled secret; the volume then has no such file. */
  readonly optional?: boolean;
};

/**
 * A compiled class: what to read, and which files to make of it. Paths are safe and distinct, and
 * none is a directory of another. `login` holds the parameters of the login, and only its provider
 * reads it. It never contains a token or a key.
 */
export type Plan<Login = unknown> = {
  /** Primaries only, each once. */
  readonly refs: readonly SecretRef[];
  readonly files: readonly FileRequest[];
  readonly login: Login;
};

/** A problem found while a class was compiled. */
export type Problem = {
  /**
   * An error fails the mount. A warning or a hint is logged once per class. In `lint` a warning is
   * an error: a part of the class has no effect. A hint is a hint: the mount does what is written.
   */
  readonly severity: 'error' | 'warning' | 'hint';
  readonly code: ErrorCode;
  /** Names the thing and the cause. Contains no secret. */
  readonly message: string;
  readonly hint?: string;
  /** The parameter that contains it. */
  readonly parameter?: string;
  /** Its position in the text of that parameter; both count from 1. */
  readonly line?: number;
  readonly column?: number;
  /** Where two things clash: the line of the first one, in the same parameter. */
  readonly firstLine?: number;
};

/** The message, with the line of the first of two things that clash. */
export function problemText({ message, firstLine }: Problem): string {
  return firstLine === undefined ? message : `${message}, first in line ${firstLine}`;
}

/** The result of `plan()`: all problems, and a plan if none of them is an error. */
export type PlanResult<Login = unknown> = {
  readonly plan?: Plan<Login>;
  readonly problems: readonly Problem[];
  /** Checks that were skipped without node facts (offline lint), one phrase each. */
  readonly skipped?: readonly string[];
};

/** The fields of a ref that are part of its key. tsc rejects the list if a field is missing. */
const keyFields = Object.keys({
  service: true,
  name: true,
  region: true,
  endpoint: true,
  role: true,
  version: true,
  stage: true,
  method: true,
  body: true,
} satisfies Record<KeyField, true>) as readonly KeyField[];

type KeyField = Exclude<keyof SecretRef, 'fallbacks'>;

/**
 * A ref's key. Two refs have equal keys exactly when they read the same. Fields are
 * length-prefixed, so no value can imitate the boundary of a field.
 */
export function refKey(ref: SecretRef): string {
  return keyFields
    .map((name) => ref[name])
    .map((field) => (field === undefined ? '-' : `${field.length}:${field}`))
    .join('');
}

/** Caches the keys of refs. Plans are cached, so a repeated mount has the same ref objects. */
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
