import { expect, test } from '@jest/globals';
import { nearestName, suggestName } from './suggest.ts';

const known = ['objectName', 'objectAlias', 'objectType', 'objectVersion', 'jmesPath', 'path'];

test.each([
  ['objectNmae', 'objectName'],
  ['objectname', 'objectName'],
  ['object_alias', 'objectAlias'],
  ['objetVersion', 'objectVersion'],
  ['jmespaths', 'jmesPath'],
  ['pth', 'path'],
])('corrects %s to %s', (typed, expected) => expect(nearestName(typed, known)).toBe(expected));

test.each(['backupArn', 'x', '', 'env_auth_mode', 'é'.repeat(100_000)])(
  'finds no near name for %#',
  (typed) => expect(nearestName(typed, known)).toBeUndefined(),
);

test('returns the nearer of two names', () =>
  expect(nearestName('objectVersionLabl', ['objectVersion', 'objectVersionLabel'])).toBe(
    'objectVersionLabel',
  ));

test.each([
  ['objectPath', ['objectName', 'secretPath'], 'secretPath'],
  ['vaultRole', ['roleName', 'vaultAddress'], 'roleName'],
  ['constructor', ['secretPath'], undefined],
  ['objectPath', ['objectName'], 'objectName'],
])('for the former name %s of %j suggests %s', (name, known, expected) => {
  expect(nearestName(name, known)).toBe(expected);
});

test.each([
  ['vaultAddr', ['vaultAddress', 'vaultNamespace'], 'vaultAddress'],
  ['awsRegion', ['region', 'objects'], 'region'],
  ['skipTLSVerify', ['vaultSkipTLSVerify', 'vaultAddress'], 'vaultSkipTLSVerify'],
  ['version', ['objectVersion', 'objectName'], 'objectVersion'],
  ['vaultAuth', ['vaultAuthMethod', 'vaultAuthMountPath'], undefined],
  ['aws-kms', ['aws', 'local'], undefined],
])('for %s, of %j, suggests %s', (name, known, expected) => {
  expect(suggestName(name, known)).toBe(expected);
});
