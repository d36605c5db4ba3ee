import jmespath from 'jmespath';
import { Script, createContext } from 'node:vm';
import { SecretError, errorCodeOf } from '../core/errors.ts';
import type { SecretRef, Selector } from '../core/plan.ts';
import type { SecretValue } from '../core/provider.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import { checkExpression, plainKeys, rootHint } from '../formats/jmespath.ts';
import { ExactNumber, type JsonValue, parseJsonText, toJsonText } from '../formats/json.ts';

/**
 * Extracts a file's content from a secret. A string gives its text. A number, a boolean, an object
 * or a list gives its compact JSON, with the characters that numbers have in the secret. Null
 * counts as missing.
 * @throws SecretError NOT_JSON, KEY_NOT_FOUND, and INVALID_CLASS for an expression that cannot be
 * applied. None of them quotes the secret or its keys.
 */
export type Extractor = (selector: Selector) => Uint8Array;

/**
 * Creates the extractor of one secret. The secret's JSON is parsed on first use and released with
 * the extractor.
 * @param time what the JMESPath expressions of all secrets of a volume may still take together;
 * default {@link createExpressionTime}
 */
export type OpenSecret = (ref: SecretRef, value: SecretValue, time?: ExpressionTime) => Extractor;

/** CPU time in milliseconds. No expression starts when it is 0 or less. */
export type ExpressionTime = { remainingMs: number };

/**
 * The time of one volume. An expression blocks all other mounts while it runs, and a class can have
 * thousands of expressions.
 */
export function createExpressionTime(): ExpressionTime {
  return { remainingMs: volumeMs };
}

const volumeMs = 200;

const checkSpelling = 'check the spelling, letter case counts';
const storeValueHint = 'store a value, or more keys';

/** The remedy where an expression of keys and dots finds nothing. It names only keys of its own. */
function hintFor(expression: string, keys: readonly string[], document: JsonValue): string {
  if (ownProperty(document, expression) !== undefined)
    return `the secret has a key of that name: write it in quotes, path: '${JSON.stringify(expression)}'`;
  let found: JsonValue | undefined = document;
  for (const key of keys) {
    found = ownProperty(found, key);
    if (typeof found === 'string' && isJsonObject(found))
      return `the key ${quote(key)} is text that holds JSON, which has no keys here: store an object in its place, or read ${quote(key)} alone`;
  }
  return checkSpelling;
}

function isJsonObject(text: string): boolean {
  try {
    return text.trimStart().startsWith('{') && isObject(parseJsonText(text));
  } catch {
    return false;
  }
}
/** In characters. A longer result fits into no response. */
const maxResultLength = 4_194_304;

/** @param options.limitMs how long a JMESPath expression may take on one document; default 50 */
export function createOpenSecret({ limitMs = 50 } = {}): OpenSecret {
  const runWithLimit = createTimeLimit(limitMs);

  return (ref, value, time = createExpressionTime()) => {
    const secret = nameSecret(ref);
    let parsed: { readonly json: JsonValue | undefined } | undefined;
    const documentIfJson = (): JsonValue | undefined =>
      (parsed ??= { json: parseDocument(value) }).json;
    const document = (): JsonValue => {
      const json = documentIfJson();
      return json === undefined ? throwNotJson(secret, value) : json;
    };

    return (selector) => {
      switch (selector.kind) {
        case 'whole':
          return value.bytes;
        case 'key':
          return (
            extractKey(document(), selector.key) ??
            throwNotFound(`${secret} has no key ${quote(selector.key)}`, rootHint(selector.key))
          );
        case 'jmespath':
          return extractExpression(selector.expression, document());
        case 'key-or-jmespath': {
          const { text } = selector;
          const isExpression = (): boolean => checkExpression(text) === undefined;
          // A list has no keys, but an expression can look into it.
          if (isObject(document()) || plainKeys(text) !== undefined || !isExpression()) {
            const literal = extractKey(document(), text);
            if (literal !== undefined) return literal;
          }
          if (!isExpression())
            return throwNotFound(`${secret} has no key ${quote(text)}`, rootHint(text));
          return extractExpression(text, document());
        }
        case 'sole': {
          const json = documentIfJson();
          return isObject(json) ? (extractSole(json) ?? value.bytes) : value.bytes;
        }
        case 'key-or-whole': {
          const { key } = selector;
          const json = documentIfJson();
          if (!isObject(json)) return value.bytes;
          return extractKey(json, key) ?? throwNotFound(`${secret} has no key ${quote(key)}`);
        }
      }
    };

    function extractSole(json: Readonly<Record<string, JsonValue>>): Buffer | undefined {
      const [item, ...others] = Object.values(json);
      if (item === undefined || others.length > 0) return undefined;
      return toBytes(item) ?? throwNotFound(`the only key of ${secret} is null`, storeValueHint);
    }

    function extractKey(json: JsonValue, key: string): Buffer | undefined {
      if (!isObject(json))
        throw new SecretError('KEY_NOT_FOUND', `${secret} is JSON, but not an object with keys`);
      const item = ownProperty(json, key);
      if (item === null) return throwNotFound(`the key ${quote(key)} of ${secret} is null`);
      return item === undefined ? undefined : toBytes(item);
    }

    function extractExpression(expression: string, json: JsonValue): Uint8Array {
      const keys = plainKeys(expression);
      const found =
        keys === undefined
          ? search(expression, json)
          : keys.reduce<JsonValue | undefined>(ownProperty, json);
      return (
        toBytes(found) ??
        throwNotFound(
          `the JMESPath ${quote(expression)} finds nothing in ${secret}`,
          hintFor(expression, keys ?? [], json),
        )
      );
    }

    /**
     * The result's text. The limit covers serialization too: a result whose parts are shared can be
     * endless as text.
     */
    function search(expression: string, json: JsonValue): string | undefined {
      if (time.remainingMs <= 0) throw expressionsTooSlow();
      const problem = checkExpression(expression);
      if (problem !== undefined)
        throw new SecretError('INVALID_CLASS', `the JMESPath ${quote(expression)} ${problem}`);
      try {
        return runWithLimit(time, () => textOf(jmespath.search(json, expression)));
      } catch (thrown) {
        throw new SecretError(
          'INVALID_CLASS',
          `the JMESPath ${quote(expression)} cannot be applied to ${secret}${reason(thrown, limitMs)}`,
          { cause: thrown },
        );
      }
    }

    function toBytes(item: JsonValue | undefined): Buffer | undefined {
      const text = textOf(item);
      return text === undefined ? undefined : Buffer.from(text);
    }
  };
}

/** A secret as messages name it. */
export function nameSecret({ service, name, region }: SecretRef): string {
  return `${service} secret ${quote(name)}${region === undefined ? '' : ` in ${region}`}`;
}

function quote(text: string): string {
  return `"${sanitizeUserText(text)}"`;
}

function throwNotFound(message: string, hint = checkSpelling): never {
  throw new SecretError('KEY_NOT_FOUND', message, { hint });
}

function expressionsTooSlow(): SecretError {
  return new SecretError(
    'INVALID_CLASS',
    `the JMESPath expressions of the volume take longer than ${volumeMs} ms together`,
    { hint: 'write simpler ones, or split the volume' },
  );
}

/** @returns undefined where the secret is not JSON */
function parseDocument({ document, bytes }: SecretValue): JsonValue | undefined {
  try {
    return parseJsonText(document ?? new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    // The parser's message quotes the secret.
    return undefined;
  }
}

function throwNotJson(secret: string, { keysHint }: SecretValue): never {
  throw new SecretError('NOT_JSON', `${secret} is not JSON, so no key can be read from it`, {
    hint: keysHint ?? 'store a JSON object, or read the secret whole',
  });
}

function isObject(value: JsonValue | undefined): value is Readonly<Record<string, JsonValue>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof ExactNumber)
  );
}

function ownProperty(value: JsonValue | undefined, key: string): JsonValue | undefined {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/**
 * `undefined` for null, for a number that is not finite, and for what is not a JSON value, such as
 * an object's inherited function.
 */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const isNothing = value === null || value === undefined || typeof value === 'function';
  if (isNothing || (typeof value === 'number' && !Number.isFinite(value))) return undefined;
  return toJsonText(value as JsonValue, { limit: maxResultLength });
}

/**
 * Runs a function and aborts it after `limitMs`. `node:vm` limits wall time, and a throttled
 * container can stand still for longer than the limit. So a function that was aborted without
 * having used the CPU runs again. The CPU time used is subtracted from `time`. The VM context is
 * created on first use.
 */
function createTimeLimit(limitMs: number): <T>(time: ExpressionTime, work: () => T) => T {
  const script = new Script('work()');
  let context: { work?: (() => unknown) | undefined } | undefined;

  const run = (vmContext: object, maxAttempts: number): unknown => {
    const before = process.cpuUsage();
    try {
      return script.runInContext(vmContext, { timeout: limitMs });
    } catch (thrown) {
      const wasThrottled = isTimeout(thrown) && cpuMsSince(before) < limitMs / 2;
      if (wasThrottled && maxAttempts > 1) return run(vmContext, maxAttempts - 1);
      throw thrown;
    }
  };

  return (time, work) => {
    context ??= createContext({});
    context.work = work;
    const before = process.cpuUsage();
    try {
      return run(context, 4) as ReturnType<typeof work>;
    } finally {
      context.work = undefined;
      time.remainingMs -= cpuMsSince(before);
    }
  };
}

function cpuMsSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

function isTimeout(thrown: unknown): boolean {
  return errorCodeOf(thrown) === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
}

/** Shows only the library's messages about types and arguments, because they quote no value. */
function reason(thrown: unknown, limitMs: number): string {
  const { message = '' } = thrown as { message?: string };
  if (isTimeout(thrown)) return `: it takes longer than ${limitMs} ms`;
  const libraryMessage = /^(?:TypeError|ArgumentError): (.+)/.exec(message)?.[1];
  return libraryMessage === undefined ? '' : `: ${sanitizeUserText(libraryMessage)}`;
}
