/** Makes a file's path of a secret's name or an alias. */
export type TranslatePath = (name: string) => string;

/**
 * How the parameter `pathTranslation` is meant: one character that replaces every `/` (default `_`), or `false`, in any letter case:
 * then names keep their directories and lose what leads to the root. `undefined` for what is neither.
 */
export function readPathTranslation(text: string): TranslatePath | undefined {
  if (text.toLowerCase() === 'false') return (name) => name.replace(/^\/+/, '');
  const character = text === '' ? '_' : text;
  if (!/^[^/]$/u.test(character)) return undefined;
  return (name) => name.replaceAll('/', () => character);
}
