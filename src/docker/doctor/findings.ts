import { escapeUnprintable } from '../../core/safe-text.ts';
import { type SecretError, toSecretError } from '../../core/errors.ts';

/** What a check has found. */
export type Finding = {
  /** The name of a store, or of a part of the host. */
  readonly name: string;
  /** Absent: all is well. */
  readonly failure?: { readonly cause: string; readonly remedy: string };
  /** A fact about a part that is well, such as its version. */
  readonly detail?: string;
  /** What is well today and can fail later. */
  readonly note?: string;
};

/** The remedy of what has no other. */
export const seeLog = 'look into the log of the agent: journalctl -u dso-agent';

/** A part that is well. */
export function fine(name: string, detail?: string, note?: string): Finding {
  return { name, ...(detail !== undefined && { detail }), ...(note !== undefined && { note }) };
}

/** A part that is not. */
export function failed(name: string, cause: string, remedy: string): Finding {
  return { name, failure: { cause, remedy } };
}

/** A failure as an error explains it. */
export function failedBy(name: string, thrown: unknown): Finding {
  const { message, hint }: SecretError = toSecretError(thrown);
  return failed(name, message, hint ?? seeLog);
}

/** One line for each finding, and one for each note. */
export function formatFindings(findings: readonly Finding[]): string {
  return findings
    .flatMap(({ name, failure, detail, note }) => [
      failure === undefined
        ? `${name} ... OK${detail === undefined ? '' : ` (${detail})`}`
        : `${name} ... ${failure.cause}; ${failure.remedy}`,
      ...(note === undefined ? [] : [`  note: ${note}`]),
    ])
    .map((line) => `${escapeUnprintable(line)}\n`)
    .join('');
}
