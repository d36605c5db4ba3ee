import { sanitizeUserText } from '../../core/safe-text.ts';
import type { JsonValue } from '../../formats/json.ts';
import { type ComposeModel, isObject, listOf, plainText } from '../model/compose-model.ts';
import { keyPath } from '../problem.ts';
import type { Left } from './find-values.ts';
import type { NewSecret } from './name-secrets.ts';

/** Shorter values would be found in ordinary words. */
const minLength = 6;
const maxFound = 50;

/** Says where the values of the secrets still stand after the move. */
export function findLeftovers(
  model: ComposeModel,
  secrets: readonly NewSecret[],
  files: readonly { readonly name: string; readonly text: string }[],
): readonly Left[] {
  const values = secrets.flatMap(({ value, uses: [first] }) => {
    const text = Buffer.from(value.reveal()).toString().trim();
    return text.length < minLength || first === undefined ? [] : [{ text, name: first.name }];
  });
  const left = new Map<string, Left>();
  const add = (what: string, text: string, reason: (name: string) => string): void => {
    // The path of a reference can be equal to a value.
    const rest = text.replace(/dso(file)?:\/\/\S*/g, '');
    const found = values.find((value) => rest.includes(value.text));
    if (found !== undefined && left.size < maxFound)
      left.set(what, { what, reason: reason(sanitizeUserText(found.name)) });
  };
  walk(model, [], (path, text) =>
    add(
      keyPath(path),
      plainText(text),
      (name) => `it has the value of ${name} too, and docker inspect can show it`,
    ),
  );
  for (const { name: file, text } of new Map(files.map((each) => [each.name, each])).values())
    for (const [index, line] of text.split('\n').entries())
      add(
        `line ${index + 1} of ${sanitizeUserText(file)}, after the change`,
        line,
        (name) => `it still has the value of ${name}`,
      );
  return [...left.values()];
}

/** Each text of a model that is no variable of a service, and no source of a secret. */
function walk(
  part: JsonValue | undefined,
  path: readonly (string | number)[],
  visit: (path: readonly (string | number)[], text: string) => void,
): void {
  const [top, , key] = path;
  if (top === 'services' && key === 'environment') return;
  if (top === 'secrets' || String(top).startsWith('x-')) return;
  if (typeof part === 'string') visit(path, part);
  else if (isObject(part))
    for (const [name, value] of Object.entries(part)) walk(value, [...path, name], visit);
  else for (const [index, item] of listOf(part).entries()) walk(item, [...path, index], visit);
}
