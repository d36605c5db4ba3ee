import { readOctalMode, type ReadMode } from '../file-options.ts';

/** An integer as Go's yaml.v3 reads it. */
const integer = /^(0x[\da-f]+|0b[01]+|0o?[0-7]+|0|[1-9]\d*)$/i;

/**
 * The vendors' providers take a YAML integer, so `0600`, `0o600`, `384` and `0x180` are one mode; in quotes, which they refuse, octal digits as in
 * every other provider's classes. 0 is theirs for "not given".
 */
export const readFilePermission: ReadMode = ({ text, quoted }) => {
  if (quoted) return readOctalMode(text);
  const digits = text.replaceAll('_', '').toLowerCase();
  if (!integer.test(digits)) return undefined;
  const mode = Number(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  return mode <= 0o777 ? mode : undefined;
};
