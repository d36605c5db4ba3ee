import { nextLine } from './text-edits.ts';

/** A variable of a file such as `.env`, as offsets of the file's text. */
export type EnvEntry = {
  readonly name: string;
  /** Where its line begins. */
  readonly start: number;
  readonly valueStart: number;
  readonly valueEnd: number;
  /** Where the line after it begins. A value in quotes can have several lines. */
  readonly end: number;
};

/**
 * Finds the variables of an env file, and not what their values are: Compose says that. It finds
 * what Compose's own parser does: https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax
 */
export function envEntries(text: string): readonly EnvEntry[] {
  const entries: EnvEntry[] = [];
  const begin = /[ \t]*(?:export[ \t]+)?([A-Za-z_][\w.-]*)[ \t]*[=:][ \t]*/y;
  for (let start = text.startsWith('\ufeff') ? 1 : 0; start < text.length;) {
    begin.lastIndex = start;
    const name = begin.exec(text)?.[1];
    const valueStart = begin.lastIndex;
    if (name === undefined) {
      start = nextLine(text, start);
      continue;
    }
    const valueEnd = quotedEnd(text, valueStart) ?? unquotedEnd(text, valueStart);
    const end = nextLine(text, valueEnd);
    entries.push({ name, start, valueStart, valueEnd, end });
    start = end;
  }
  return entries;
}

/** Behind the closing quote. */
function quotedEnd(text: string, start: number): number | undefined {
  const quote = text.charAt(start);
  if (quote !== '"' && quote !== "'") return undefined;
  for (let at = start + 1; at < text.length; at += 1)
    if (text.charAt(at) === quote && text.charAt(at - 1) !== '\\') return at + 1;
  return undefined;
}

/** A comment needs a blank before it. */
function unquotedEnd(text: string, start: number): number {
  const line = text.slice(start, nextLine(text, start));
  const value = line.replace(/\s#[^]*$/, '').trimEnd();
  return start + value.length;
}
