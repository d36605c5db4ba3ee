/** Words that name a secret wherever they stand in the name of a variable. */
const words = new RegExp(
  [
    ...['PASSWORD', 'PASSWD', 'PASSPHRASE', 'SECRET', 'TOKEN', 'CREDENTIAL'],
    ...['API', 'ACCESS', 'PRIVATE', 'ENCRYPTION', 'SIGNING', 'MASTER', 'AUTH'].map(
      (kind) => `${kind}_?KEY`,
    ),
  ].join('|'),
);
/** Words that name one at the end. */
const lastWords = /(^|_)(PASS|[A-Z]+_PWD|AUTH|SALT|PAT|DSN)$/;
/** Last words of a variable that describes a secret and does not hold it. */
const others = new RegExp(
  `_(${[
    ...['FILE', 'PATH', 'DIR', 'ID', 'NAME', 'USER', 'USERNAME', 'TTL', 'LENGTH', 'SIZE', 'TYPE'],
    ...['ENABLED', 'DISABLED', 'REQUIRED', 'TIMEOUT', 'EXPIRY', 'EXPIRES', 'EXPIRES_IN'],
    ...['EXPIRATION', 'ALGORITHM', 'HEADER', 'POLICY', 'MIN', 'MAX', 'COUNT', 'HOST', 'PORT'],
    ...['ISSUER', 'AUDIENCE', 'REGION', 'URL', 'URI', 'ENDPOINT', 'METHOD', 'MODE', 'AGE'],
    ...['LIFETIME', 'COST', 'ROUNDS', 'HASHER'],
  ].join('|')})$`,
);
const plainValues = /^(true|false|yes|no|on|off|none|null|enabled|disabled|\d{1,3}|\d+[smhd])$/i;
/** Passwords are not always encoded as https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1 says. */
const urlWithPassword = /^[a-z][a-z0-9+.-]*:\/\/[^/?#\s:@]*:[^/\s@]+@/i;

/** Whether a variable looks like a secret, by its name or because it is a URL with a password. */
export function looksSecret(name: string, value: string): boolean {
  const upper = name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase();
  const isNamed = (words.test(upper) || lastWords.test(upper)) && !others.test(upper);
  return (isNamed && !plainValues.test(value)) || urlWithPassword.test(value);
}

/** Whether a variable looks like a secret by its name alone. */
export function hasSecretName(name: string): boolean {
  return looksSecret(name, '?');
}

/** The last element of a secret's path: `DB_PASSWORD` is `db-password`. */
export function slugOf(name: string): string {
  const slug = name
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
  return slug === '' ? 'secret' : slug.slice(0, 60);
}
