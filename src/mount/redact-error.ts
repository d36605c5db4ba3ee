import { SecretError } from '../core/errors.ts';
import { containsSecret } from '../core/safe-text.ts';
import type { Workload } from '../core/workload.ts';

/** Shorter keys would match ordinary words and blank out messages that hold nothing. */
const shortest = 8;
/** Characters of tokens and keys that are looked for, a few milliseconds' work; no driver brings more of use. */
const longest = 64 * 1024;

/**
 * The error as it may be shown to the workload's owner and the log: the last net below every provider's own care. Where its text holds a
 * token or key that came with the request, raw or encoded, the text is withheld and the code stays. So it is where they are too long to be looked for.
 */
export function redactError(error: SecretError, workload: Workload | undefined): SecretError {
  if (workload === undefined) return error;
  const keys = [...workload.secrets.values()].map((key) => key.reveal());
  const tokens = [...workload.tokens.values()].map(({ token }) => token.reveal());
  const brought = [...keys, ...tokens];
  if (brought.reduce((length, key) => length + key.length, 0) > longest)
    return new SecretError(
      error.code,
      'the message is withheld: this request brought too long tokens or keys to look for in it',
      {
        hint: 'let nodePublishSecretRef name a Secret that holds the keys of the class and no more',
      },
    );
  // A JWT has three parts.
  const parts = tokens.flatMap((token) => token.split('.', 3));
  const leaks = [...brought, ...parts].some(
    (key) => key.length >= shortest && containsSecret(error.summary, key),
  );
  if (!leaks) return error;
  return new SecretError(
    error.code,
    'the message is withheld: it held a token or key of this request',
  );
}

/** What the log may know of a foreign error: its name, its code and where it came from, not its text. */
export function causeForLog({ cause }: SecretError): object | undefined {
  if (typeof cause !== 'object' || cause === null || cause instanceof SecretError) return undefined;
  const { name, code, stack } = cause as { name?: unknown; code?: unknown; stack?: unknown };
  const frames =
    typeof stack === 'string' ? stack.split('\n').filter((line) => /^\s+at /.test(line)) : [];
  return { name, code, stack: frames.slice(0, 8) };
}
