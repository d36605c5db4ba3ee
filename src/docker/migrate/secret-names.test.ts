import { expect, test } from '@jest/globals';
import { looksSecret, slugOf } from './secret-names.ts';

test.each([
  ...['DB_PASSWORD', 'PGPASSWORD', 'MYSQL_PWD', 'SMTP_PASS', 'dbPassword', 'API_KEY', 'APIKEY'],
  ...['AWS_SECRET_ACCESS_KEY', 'JWT_SECRET', 'GITHUB_TOKEN', 'REDISCLI_AUTH', 'SENTRY_DSN'],
  ...['POSTGRES_PASSWORD_PROD', 'DB_PASSWORD_1', 'SECRET_KEY_BASE'],
])('%s looks like a secret', (name) => expect(looksSecret(name, 'a value')).toBe(true));

test.each([
  ...[
    'DB_HOST',
    'PWD',
    'PATH',
    'POSTGRES_PASSWORD_FILE',
    'AWS_ACCESS_KEY_ID',
    'TOKEN_TTL',
    'COMPASS',
  ],
  ...['PASSWORD_MIN_LENGTH', 'SECRET_NAME', 'TOKEN_URL', 'API_KEY_HEADER', 'BYPASS', 'KEYBOARD'],
])('%s does not', (name) => expect(looksSecret(name, 'a value')).toBe(false));

test.each(['true', 'no', '30', '15m', 'none'])(
  'a switch or a number is not a secret: %s',
  (value) => expect(looksSecret('ALLOW_EMPTY_PASSWORD', value)).toBe(false),
);

test.each([
  ['postgres://app:pw@db/app', true],
  ['redis://:p#w@cache', true],
  ['https://app@example.com', false],
  ['https://example.com:80/a@b', false],
])('a URL with a password is one, whatever its name: %s', (value, expected) =>
  expect(looksSecret('DATABASE_URL', value)).toBe(expected),
);

test.each([
  ['DB_PASSWORD', 'db-password'],
  ['dbPassword', 'db-password'],
  ['__A..B__', 'a-b'],
  ['___', 'secret'],
])('the path of %s ends with %s', (name, slug) => expect(slugOf(name)).toBe(slug));
