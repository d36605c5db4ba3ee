import type { ErrorCode } from './errors.ts';

/**
 * What a store is asked. Every field that is set is part of the ref's key, so two refs with one key are one question.
 * `fallbacks` are other questions, asked in order when nobody answers this one; they are not part of the key.
 */
export type SecretRef = {
  /** The store's service: `csms`, `kms`, `oos`, `secretsmanager`, `ssm`, `vault`, `local`. */
  readonly service: string;
  /** The secret's name as it is sent to the store. */
  readonly name: string;
  readonly region?: string;
  /** Host, or host and port, where the class names one. */
  readonly endpoint?: string;
  /** Role to assume on top of the principal. */
  readonly role?: string;
  readonly version?: string;
  readonly stage?: string;
  /** Default GET, for stores that know methods. */
  readonly method?: 'GET' | 'POST' | 'PUT';
  /** Canonical body of the request, for stores that know one. */
  readonly body?: string;
  readonly fallbacks?: readonly SecretRef[];
};

/** How a file's content is taken out of a secret. */
export type Selector =
  /** The secret's bytes as the store has them. */
  | { readonly kind: 'whole' }
  /** A key of the JSON object, taken literally. */
  | { readonly kind: 'key'; readonly key: string }
  /** A JMESPath expression over the JSON document. */
  | { readonly kind: 'jmespath'; readonly expression: string }
  /** First a literal key, and where there is none a JMESPath expression. */
  | { readonly kind: 'key-or-jmespath'; readonly text: string };

/** How a selected text is stored; the file holds it decoded. `utf-8`: as it is. */
export type Encoding = 'utf-8' | 'base64' | 'hex';

/** One thing a file is made of: a selection out of a secret. */
export type FileSource = {
  /** One of the plan's `refs`, the same object. */
  readonly ref: SecretRef;
  readonly selector: Selector;
};

/** One file of the volume. */
export type FileRequest = {
  /** Relative, clean path below the volume's root; see {@link checkFilePath}. */
  readonly path: string;
  /** Sources by name; one, called `value`, but for templates. */
  readonly sources: Readonly<Record<string, FileSource>>;
  /** Permission bits, 0 to 0o777. Absent: the request's `permission`. */
  readonly mode?: number;
  readonly encoding: Encoding;
  /** The user's word that an absent or disabled secret leaves this file out. */
  readonly optional?: boolean;
};

/**
 * A class compiled: what to read and which files to make of it. Paths are safe, distinct, and none is another's directory.
 * `login` is what the parameters say of how to log in; only its provider looks inside. It never holds a token or a key.
 */
export type Plan<Login = unknown> = {
  /** Primaries only, each once. */
  readonly refs: readonly SecretRef[];
  readonly files: readonly FileRequest[];
  readonly login: Login;
};

/** A fault found while a class was compiled. */
export type Problem = {
  /** An error stops the mount; a warning is said once a class, and is an error in `lint`. */
  readonly severity: 'error' | 'warning';
  readonly code: ErrorCode;
  /** Names the thing and the cause; no secret. */
  readonly message: string;
  readonly hint?: string;
  /** The parameter it stands in. */
  readonly parameter?: string;
  /** Where in that parameter's text, both counted from 1. */
  readonly line?: number;
  readonly column?: number;
};

/** What `plan()` answers: every problem at once, and a plan where none of them is an error. */
export type PlanResult<Login = unknown> = {
  readonly plan?: Plan<Login>;
  readonly problems: readonly Problem[];
  /** Checks left out because no facts were given (offline lint), one phrase each. */
  readonly skipped?: readonly string[];
};

/**
 * A ref's key: equal for two refs exactly when they ask the same. Fields are length-prefixed, so no value can imitate
 * a boundary.
 */
export function refKey(ref: SecretRef): string {
  const fields = [
    ref.service,
    ref.name,
    ref.region,
    ref.endpoint,
    ref.role,
    ref.version,
    ref.stage,
    ref.method,
    ref.body,
  ];
  return fields.map((field) => (field === undefined ? '-' : `${field.length}:${field}`)).join('');
}

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
