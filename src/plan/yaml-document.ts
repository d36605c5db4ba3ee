import { Composer, type CST, Lexer, LineCounter, type ParsedNode, Parser } from 'yaml';
import { quoteForeign } from '../errors/status-text.ts';

/** Both counted from 1; columns in UTF-16 code units. */
export type Position = { readonly line: number; readonly column: number };

/** Says what is wrong, where, and what to do about it. */
export type YamlReport = (at: Position, message: string, hint?: string) => void;

/** How deep collections may nest. */
export const maxDepth = 16;
/** Pieces of YAML text. 500 objects of ten fields need some 30,000; the library takes some tenths of a second for 100,000. */
const maxTokens = 100_000;

/** A document as the library has it: every scalar is text, aliases are not followed, keys may stand twice. */
export type YamlDocument = {
  readonly contents: ParsedNode;
  readonly at: (offset: number) => Position;
};

/** Reads one YAML document; `undefined` for an empty one, and after an error, which is reported. Never throws. */
export function readYamlDocument(text: string, report: YamlReport): YamlDocument | undefined {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const source = text.replace(/^\ufeff/, '');
  const tokens = tokenize(source, lines, (offset, message, hint) => report(at(offset), message, hint));
  if (tokens === undefined) return undefined;
  const composer = new Composer({ schema: 'failsafe', resolveKnownTags: false, uniqueKeys: false });
  const [document, second] = [...composer.compose(tokens, true, source.length)];
  const [error] = document?.errors ?? [];
  if (error !== undefined) {
    const where = at(error.pos[0]);
    const isTabbed = /^ *\t/.test(source.split('\n')[where.line - 1] ?? '');
    const hint = isTabbed ? 'indent with spaces, not with tabs' : 'check indentation and quotes';
    report(where, `not YAML: ${inOwnWords(error.message)}`, hint);
  } else if (second !== undefined) {
    report(at(second.range[0]), 'a second YAML document begins', 'write one list, without ---');
  } else if (document?.contents != null) {
    return { contents: document.contents, at };
  }
  return undefined;
}

/**
 * The parser's tokens, up to the first error. Caps are looked at here: the library composes recursively, and a stack exhausted inside V8's
 * regular expression compiler ends the process instead of throwing.
 */
function tokenize(
  text: string,
  lines: LineCounter,
  report: (offset: number, message: string, hint?: string) => void,
): CST.Token[] | undefined {
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  let count = 0;
  for (const lexeme of new Lexer().lex(text)) {
    tokens.push(...parser.next(lexeme));
    if (tokens.at(-1)?.type === 'error') return tokens;
    if (parser.stack.length > maxDepth && parser.stack.filter(isCollection).length > maxDepth) {
      report(parser.offset, `nested more than ${maxDepth} deep`);
      return undefined;
    }
    count += 1;
    if (count > maxTokens) {
      report(parser.offset, `more than ${maxTokens} pieces of YAML`, 'split the class');
      return undefined;
    }
  }
  return [...tokens, ...parser.end()];
}

function isCollection({ type }: CST.Token): boolean {
  return type === 'block-map' || type === 'block-seq' || type === 'flow-collection';
}

/** The library's message without the user's text, which it appends after a colon. */
function inOwnWords(message: string): string {
  return quoteForeign(message.replace(/(?<=\w): .*$/s, ''));
}
