import { escapeUnprintable } from '../../core/safe-text.ts';

/** The longest reference, and the longest path of a secret. Vendors allow at most 512. */
export const maxReferenceLength = 2_048;

/** The name of a store: it can be the first element of a reference. */
export const storeNamePattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;

/**
 * Checks the path of a secret: a name in the store, or the path of an API.
 * @returns the problem, as words that follow the path; undefined for a valid path
 */
export function checkSecretPath(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (path.length > maxReferenceLength)
    return `has ${path.length} characters; at most ${maxReferenceLength} are allowed`;
  if (hasSpaceOrControl(path)) return 'has a space, or a character that is not printable';
  if (path.includes('\\')) return 'has a backslash; elements are separated by "/"';
  if (path.includes('#')) return 'has a "#", which begins the name of a field';
  // Percent encoding must not hide an element from this check.
  const elements = path.replace(/%2f/gi, '/').replace(/%2e/gi, '.').split('/');
  if (elements.includes('..') || elements.includes('.')) return 'has a "." or ".." element';
  if (elements.includes('')) return 'has an empty element: a "/" too many';
  return undefined;
}

/**
 * Checks the name of a field in a reference.
 * @returns the problem, as words that follow the field; undefined for a valid name
 */
export function checkField(field: string): string | undefined {
  if (field === '') return 'is empty';
  if (hasSpaceOrControl(field)) return 'has a space, or a character that is not printable';
  return undefined;
}

/**
 * Checks the name of an environment variable. Docker allows more than a shell does.
 * @returns the problem, as words that follow the name; undefined for a valid name
 */
export function checkVariableName(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.length > 255) return `has ${name.length} characters; at most 255 are allowed`;
  if (name.includes('=')) return 'has a "="';
  if (hasSpaceOrControl(name)) return 'has a space, or a character that is not printable';
  if (name === 'PATH') return 'cannot hold a secret: the injection itself needs PATH';
  return undefined;
}

function hasSpaceOrControl(text: string): boolean {
  return /\s/.test(text) || escapeUnprintable(text) !== text;
}
