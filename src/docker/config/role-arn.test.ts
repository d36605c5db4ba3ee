import { expect, test } from '@jest/globals';
import { checkRoleArn } from './role-arn.ts';

test.each([
  ['aws', 'arn:aws:iam::123456789012:role/Reader'],
  ['aws', 'arn:aws-cn:iam::123456789012:role/path/to/Reader@x'],
  ['alibabacloud', 'acs:ram::1234567890123456:role/reader'],
] as const)('accepts a role of %s: %s', (type, arn) =>
  expect(checkRoleArn(type, arn)).toBeUndefined(),
);

test('warns of an account that does not have 12 digits', () =>
  expect(checkRoleArn('aws', 'arn:aws:iam::123456789:role/ContainerSecretsRole')).toEqual({
    severity: 'warning',
    message: 'has the account 123456789, of 9 digits; accounts of AWS have 12',
  }));

test.each([
  '',
  'Reader',
  'arn:aws:iam::123456789012:user/Reader',
  'arn:aws:iam::123456789012:role/',
  'arn:aws:iam::123456789012:role/a b',
  'arn:aws:iam::123456789012:role/a\nb',
  `arn:aws:iam::123456789012:role/${'a'.repeat(2_048)}`,
  `arn:aws:iam::${'1'.repeat(1_000_000)}:role/a`,
])('refuses %j', (arn) => expect(checkRoleArn('aws', arn)?.severity).toBe('error'));
