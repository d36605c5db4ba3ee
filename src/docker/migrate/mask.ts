import { Lexer, isPair, isScalar, isSeq, parseAllDocuments, visit } from 'yaml';
import { envEntries } from './env-file.ts';

/** Stands for each value, whatever its length. */
export const hiddenMark = '[hidden]';

/**
 * A reference, a variable, or the path of a secret: it says nothing of a value. A password can
 * begin with `$`, so the name of a variable must be in capitals.
 */
const harmless =
  /^(dso(file)?:\/\/\S*|\$[A-Z_][A-Z0-9_]*|\$\{[A-Z_][A-Z0-9_]*\}|\/run\/secrets\/[\w./-]*)$/;

/**
 * The lines of a YAML file with its keys, and without its values and comments. What is not known to
 * be harmless is hidden: a value can stand in any place.
 * @param openKeys keys whose values are shown
 */
export function maskYaml(
  text: string,
  openKeys: ReadonlySet<string> = new Set(),
): readonly string[] {
  const shown = shownScalars(text, openKeys);
  let masked = '';
  let offset = 0;
  let isScalarNext = false;
  for (const token of new Lexer().lex(text)) {
    // Marks of the library, which are not in the text.
    const isMark = token === '\u0002' || token === '\u0018' || token === '\u001f';
    if (!isMark) {
      // A password without quotes can look like an anchor that no alias names.
      const isAnchor = token.startsWith('&') && text.includes(`*${token.slice(1)}`);
      const isOpen = !isScalarNext && (isAnchor || isStructure(token));
      masked += isOpen ? token : maskToken(token, shown.get(offset) ?? '');
      offset += token.length;
    }
    isScalarNext = token === '\u001f';
  }
  return masked.split('\n');
}

/** Blanks, punctuation, aliases, and the tags of YAML and of Compose. */
function isStructure(token: string): boolean {
  return /^(\s*|\ufeff|[-?:,[\]{}]|---|\.\.\.|\*\S*|!!\w*|!reset|!override|[|>][-+0-9]*)$/.test(
    token,
  );
}

/** @param prefix what can be shown of it */
function maskToken(token: string, prefix: string): string {
  if (prefix === token) return token;
  if (token.startsWith('#')) return `# ${hiddenMark}`;
  return token
    .split('\n')
    .map((line, index) => {
      if (line.trim() === '') return line;
      const [indent = ''] = /^\s*/.exec(line) ?? [];
      return `${indent}${index === 0 ? prefix : ''}${hiddenMark}${line.endsWith('\r') ? '\r' : ''}`;
    })
    .join('\n');
}

/** What can be shown of each scalar, by its offset: its whole source, or the beginning. */
function shownScalars(text: string, openKeys: ReadonlySet<string>): ReadonlyMap<number, string> {
  const shown = new Map<number, string>();
  const show = (node: unknown, pattern = /^[^]*/): void => {
    if (!isScalar(node) || node.range == null) return;
    const [prefix = ''] = pattern.exec(text.slice(node.range[0], node.range[1])) ?? [];
    shown.set(node.range[0], prefix);
  };
  for (const document of parseAllDocuments(text, { schema: 'failsafe' }))
    visit(document, {
      Pair(_, { key, value }, path) {
        show(key);
        const name = isScalar(key) ? String(key.value) : '';
        if (isScalar(value) && (openKeys.has(name) || harmless.test(String(value.value))))
          show(value);
        if (!isSeq(value)) return;
        for (const item of value.items)
          if (name === 'environment') showVariable(item, show);
          else if (name === 'secrets' && isOfService(path)) show(item);
      },
    });
  return shown;
}

/** Whether a key stands in a service: elsewhere, a list with its name can have values. */
function isOfService(path: readonly unknown[]): boolean {
  const [services, service, ...deeper] = path.filter((node) => isPair(node));
  const isServices = isScalar(services?.key) && services.key.value === 'services';
  return isServices && service !== undefined && deeper.length === 0;
}

/** `- NAME=value` */
function showVariable(item: unknown, show: (node: unknown, pattern?: RegExp) => void): void {
  const [, value] = isScalar(item)
    ? (/^[A-Za-z_][\w.-]*(?:=([^]*))?$/.exec(String(item.value)) ?? [])
    : [];
  const isBare = isScalar(item) && /^[A-Za-z_][\w.-]*$/.test(String(item.value));
  if (isBare || (value !== undefined && harmless.test(value))) show(item);
  else show(item, /^["']?[A-Za-z_][\w.-]*=/);
}

/** The lines of an env file with the names of its variables, and without values and comments. */
export function maskEnvFile(text: string): readonly string[] {
  let masked = '';
  let at = 0;
  const hide = (part: string): string => part.replace(/[^\s][^\n]*?(?=\r?(\n|$))/g, hiddenMark);
  for (const { start, valueStart, valueEnd, end } of envEntries(text)) {
    const value = text.slice(valueStart, valueEnd);
    masked += hide(text.slice(at, start)) + text.slice(start, valueStart);
    masked += harmless.test(value) ? value : hide(value);
    masked += hide(text.slice(valueEnd, end));
    at = end;
  }
  return (masked + hide(text.slice(at))).split('\n');
}
