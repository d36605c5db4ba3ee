import jmespath from 'jmespath';
import { SecretError } from '../core/errors.ts';
import type { SecretRef, Selector } from '../core/plan.ts';
import type { SecretValue } from '../core/provider.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import { checkExpression, plainKeys } from '../formats/jmespath.ts';
import {
  type JsonValue,
  isJsonObject,
  ownProperty,
  parseJsonText,
  toJsonText,
} from '../formats/json.ts';
import {
  type ExpressionTime,
  createExpressionTime,
  createTimeLimit,
  isTimeout,
  volumeMs,
} from './expression-time.ts';
import { hintForExpression, hintForKey, nullHint } from './not-found-hints.ts';

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
            throwNotFound(
              `${secret} has no key ${quote(selector.key)}`,
              hintForKey(selector.key, document()),
            )
          );
        case 'jmespath':
          return extractExpression(selector.expression, document());
        case 'key-or-jmespath': {
          const { text } = selector;
          const isExpression = (): boolean => checkExpression(text) === undefined;
          // A list has no keys, but an expression can look into it.
          if (isJsonObject(document()) || plainKeys(text) !== undefined || !isExpression()) {
            const literal = extractKey(document(), text);
            if (literal !== undefined) return literal;
          }
          if (!isExpression())
            return throwNotFound(
              `${secret} has no key ${quote(text)}`,
              hintForKey(text, document()),
            );
          return extractExpression(text, document());
        }
        case 'sole': {
          const json = documentIfJson();
          return (isJsonObject(json) ? extractSole(json) : undefined) ?? value.bytes;
        }
        case 'key-or-whole': {
          const { key } = selector;
          const json = documentIfJson();
          if (!isJsonObject(json)) return value.bytes;
          return (
            extractKey(json, key) ??
            throwNotFound(`${secret} has no key ${quote(key)}`, hintForKey(key, json))
          );
        }
      }
    };

    function extractSole(json: Readonly<Record<string, JsonValue>>): Buffer | undefined {
      const [item, ...others] = Object.values(json);
      if (item === undefined || others.length > 0) return undefined;
      return toBytes(item) ?? throwNotFound(`the only key of ${secret} is null`, nullHint);
    }

    function extractKey(json: JsonValue, key: string): Buffer | undefined {
      if (!isJsonObject(json))
        throw new SecretError('KEY_NOT_FOUND', `${secret} is JSON, but not an object with keys`);
      const item = ownProperty(json, key);
      if (item === null)
        return throwNotFound(`the key ${quote(key)} of ${secret} is null`, nullHint);
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
          hintForExpression(expression, keys ?? [], json),
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

function throwNotFound(message: string, hint: string): never {
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

/** Shows only the library's messages about types and arguments, because they quote no value. */
function reason(thrown: unknown, limitMs: number): string {
  const { message = '' } = thrown as { message?: string };
  if (isTimeout(thrown)) return `: it takes longer than ${limitMs} ms`;
  const libraryMessage = /^(?:TypeError|ArgumentError): (.+)/.exec(message)?.[1];
  return libraryMessage === undefined ? '' : `: ${sanitizeUserText(libraryMessage)}`;
}
