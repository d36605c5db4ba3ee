import jmespath from 'jmespath';
import { Script, createContext } from 'node:vm';
import { SecretError } from '../core/errors.ts';
import type { SecretRef, Selector } from '../core/plan.ts';
import type { SecretValue } from '../core/provider.ts';
import { sanitizeExternalText } from '../core/safe-text.ts';
import { checkExpression, plainKeys } from '../formats/jmespath.ts';
import { ExactNumber, type JsonValue, parseJsonText, toJsonText } from '../formats/json.ts';

/**
 * Takes a file's content out of a secret. A string gives its text; a number, a boolean, an object or a list its compact JSON, numbers with the
 * characters they have in the secret; null is nothing.
 * @throws SecretError NOT_JSON, KEY_NOT_FOUND, and INVALID_CLASS for an expression that cannot be applied. None quotes the secret or its keys.
 */
export type Take = (selector: Selector) => Uint8Array;

/**
 * Opens a secret: its JSON is parsed when first needed, and forgotten with the returned function.
 * @param time what the JMESPath expressions of all secrets of a volume may still take together; default {@link createExpressionTime}
 */
export type Select = (ref: SecretRef, value: SecretValue, time?: ExpressionTime) => Take;

/** Of the CPU's time, in milliseconds; spent when it is not above 0. */
export type ExpressionTime = { leftMs: number };

/** The time of one volume: an expression holds up everybody else's mounts while it runs, and a class can have thousands. */
export function createExpressionTime(): ExpressionTime {
  return { leftMs: volumeMs };
}

const volumeMs = 200;

const checkSpelling = 'check the spelling, letter case counts';
/** Characters of a result; more fits into no response. */
const longestResult = 4_194_304;

/** `limitMs`: how long a JMESPath expression may take over a document; default 50. */
export function createSelect({ limitMs = 50 } = {}): Select {
  const underLimit = createTimeLimit(limitMs);

  return (ref, value, time = createExpressionTime()) => {
    const secret = nameSecret(ref);
    let parsed: { readonly json: JsonValue } | undefined;
    const document = (): JsonValue => (parsed ??= { json: parseDocument(value, secret) }).json;

    return (selector) => {
      switch (selector.kind) {
        case 'whole':
          return value.bytes;
        case 'key':
          return (
            takeKey(document(), selector.key) ??
            missing(`${secret} has no key ${quote(selector.key)}`)
          );
        case 'jmespath':
          return takeExpression(selector.expression, document());
        case 'key-or-jmespath': {
          const { text } = selector;
          const literal = takeKey(document(), text);
          if (literal !== undefined) return literal;
          if (checkExpression(text) !== undefined)
            return missing(`${secret} has no key ${quote(text)}`);
          return takeExpression(text, document());
        }
      }
    };

    function takeKey(json: JsonValue, key: string): Buffer | undefined {
      if (!isObject(json))
        throw new SecretError('KEY_NOT_FOUND', `${secret} is JSON, but no object with keys`);
      const item = ownItem(json, key);
      if (item === null) return missing(`the key ${quote(key)} of ${secret} is null`);
      return item === undefined ? undefined : toBytes(item);
    }

    function takeExpression(expression: string, json: JsonValue): Uint8Array {
      const keys = plainKeys(expression);
      const found =
        keys === undefined
          ? search(expression, json)
          : keys.reduce<JsonValue | undefined>(ownItem, json);
      return (
        toBytes(found) ?? missing(`the JMESPath ${quote(expression)} finds nothing in ${secret}`)
      );
    }

    /** The result's text: writing it out is limited too, since shared parts can make it endless. */
    function search(expression: string, json: JsonValue): string | undefined {
      if (time.leftMs <= 0) throw takeTooLong();
      const problem = checkExpression(expression);
      if (problem !== undefined)
        throw new SecretError('INVALID_CLASS', `the JMESPath ${quote(expression)} ${problem}`);
      try {
        return underLimit(time, () => textOf(jmespath.search(json, expression)));
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
  return `"${sanitizeExternalText(text)}"`;
}

function missing(message: string): never {
  throw new SecretError('KEY_NOT_FOUND', message, { hint: checkSpelling });
}

function takeTooLong(): SecretError {
  return new SecretError(
    'INVALID_CLASS',
    `the JMESPath expressions of the class take longer than ${volumeMs} ms together`,
    { hint: 'write simpler ones, or split the class' },
  );
}

function parseDocument({ document, bytes }: SecretValue, secret: string): JsonValue {
  try {
    return parseJsonText(document ?? new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    // The parser's message quotes the secret.
    throw new SecretError('NOT_JSON', `${secret} is not JSON, so nothing can be taken out of it`, {
      hint: 'store a JSON object, or mount the secret whole',
    });
  }
}

function isObject(value: JsonValue | undefined): value is Readonly<Record<string, JsonValue>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof ExactNumber)
  );
}

function ownItem(value: JsonValue | undefined, key: string): JsonValue | undefined {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** `undefined` for what is no JSON value, or none to write: null, not a number, an object's inherited function. */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const isNothing = value === null || value === undefined || typeof value === 'function';
  if (isNothing || (typeof value === 'number' && !Number.isFinite(value))) return undefined;
  return toJsonText(value as JsonValue, { limit: longestResult });
}

/**
 * Runs a function, and cuts it where it takes longer than `limitMs`. The limit is one of wall time, and a throttled container may stand still for
 * longer: who was cut without having used the CPU is run again. What was used is taken off `time`. The context is made when first needed.
 */
function createTimeLimit(limitMs: number): <T>(time: ExpressionTime, work: () => T) => T {
  const script = new Script('work()');
  let context: { work?: (() => unknown) | undefined } | undefined;

  const run = (inside: object, attempts: number): unknown => {
    const before = process.cpuUsage();
    try {
      return script.runInContext(inside, { timeout: limitMs });
    } catch (thrown) {
      const stoodStill = isTimeout(thrown) && usedSince(before) < limitMs / 2;
      if (stoodStill && attempts > 1) return run(inside, attempts - 1);
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
      time.leftMs -= usedSince(before);
    }
  };
}

function usedSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

function isTimeout(thrown: unknown): boolean {
  return (thrown as { code?: string }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
}

/** Only the library's remarks about types and arguments are fit to be shown: they quote no value. */
function reason(thrown: unknown, limitMs: number): string {
  const { message = '' } = thrown as { message?: string };
  if (isTimeout(thrown)) return `: it takes longer than ${limitMs} ms`;
  const said = /^(?:TypeError|ArgumentError): (.+)/.exec(message)?.[1];
  return said === undefined ? '' : `: ${sanitizeExternalText(said)}`;
}
