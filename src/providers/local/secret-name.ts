/** Longest name of a secret, in characters, and of one of its segments: a name is also the default file name. */
const longestName = 512;
const longestSegment = 255;
const segment = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * What is wrong with a secret's name, or undefined. Names are segments of ASCII letters, digits, `.`, `_` and `-`, each beginning with a
 * letter or digit, separated by `/`: `eu/prod/db`. So every name is a safe file path as it stands.
 */
export function checkSecretName(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.length > longestName) return `is longer than ${longestName} characters`;
  const segments = name.split('/');
  if (segments.some((part) => part === '')) return 'has an empty segment';
  if (segments.some((part) => part.length > longestSegment))
    return `has a segment of more than ${longestSegment} characters`;
  if (segments.every((part) => segment.test(part))) return undefined;
  return 'may hold only letters, digits, ".", "_" and "-", in segments that begin with a letter or digit and are separated by "/"';
}

/** `v1`, `v2`, ... as a number, or undefined where it is no version. */
export function versionNumber(version: string): number | undefined {
  return /^v[1-9][0-9]{0,9}$/.test(version) ? Number(version.slice(1)) : undefined;
}
