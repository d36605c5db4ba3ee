import { SecretError } from '../core/errors.ts';
import { containsSecret } from '../core/safe-text.ts';
import type { Workload } from '../core/workload.ts';

/** Shorter keys would match ordinary words and redact messages that hold no key. */
const minKeyLength = 8;
/** Characters of tokens and keys to search for: a few milliseconds. Real requests have fewer. */
const maxSearchLength = 64 * 1024;

/**
 * The error that the workload's owner and the log may see. Providers redact their own errors; this
 * is the last check. If the text holds a token or key of the request, raw or encoded, the text is
 * removed and the code stays. The same applies if the tokens and keys are too long to search for.
 */
export function redactError(error: SecretError, workload: Workload | undefined): SecretError {
  if (workload === undefined) return error;
  const keys = [...workload.secrets.values()].map((key) => key.reveal());
  const tokens = [...workload.tokens.values()].map(({ token }) => token.reveal());
  const podSupplied = [...keys, ...tokens];
  if (podSupplied.reduce((length, key) => length + key.length, 0) > maxSearchLength)
    return new SecretError(
      error.code,
      'the message is redacted: the tokens and keys of this request are too long to search for in it',
      {
        hint: 'let nodePublishSecretRef name a Secret that holds only the keys of the class',
      },
    );
  // A JWT has three parts.
  const parts = tokens.flatMap((token) => token.split('.', 3));
  const leaks = [...podSupplied, ...parts].some(
    (key) =>
      key.length >= minKeyLength &&
      containsSecret(`${error.summary} ${error.requestId ?? ''}`, key),
  );
  if (!leaks) return error;
  return new SecretError(
    error.code,
    'the message is redacted: it contains a token or key of this request',
  );
}

/**
 * What the log shows of a foreign error: its name, code and stack frames. Its text may contain a
 * secret: JSON.parse quotes its input.
 */
export function causeForLog({ cause }: SecretError): object | undefined {
  if (typeof cause !== 'object' || cause === null || cause instanceof SecretError) return undefined;
  const { name, code, stack } = cause as { name?: unknown; code?: unknown; stack?: unknown };
  const frames =
    typeof stack === 'string' ? stack.split('\n').filter((line) => /^\s+at /.test(line)) : [];
  return { name, code, stack: frames.slice(0, 8) };
}
