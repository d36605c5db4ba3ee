import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readDsoConfig } from '../config/read.ts';
import { type Reference, formatReference, parseReference } from './reference.ts';

const configOf = (text: string) => readDsoConfig(text, 'dso.yaml').config!;
const noStores = configOf('');
const oneStore = configOf('provider: aws');
const twoStores = configOf('providers: {aws: {type: aws}, vault: {type: vault}}');
const withDefault = configOf(
  'providers: {aws: {type: aws}, vault: {type: vault}}\ndefaults: {provider: aws}',
);

/** The fault and the hint of a text that must not be a valid reference. */
function faultOf(text: string, config = noStores): string {
  const parsed = parseReference(text, config);
  if (parsed === undefined || !('fault' in parsed)) throw new Error(`no fault: ${text}`);
  return `${parsed.fault}; ${parsed.hint}`;
}

describe('parseReference', () => {
  test.each([
    ['dso://my-app/database-password', { path: 'my-app/database-password' }],
    [
      'dso://secret/data/app/database-password#password',
      { path: 'secret/data/app/database-password', field: 'password' },
    ],
    ['dso://database/creds/app#username', { path: 'database/creds/app', field: 'username' }],
    ['dso://secret/data/app?version=2#a#b', { path: 'secret/data/app?version=2', field: 'a#b' }],
    [
      'dso://arn:aws:secretsmanager:us-east-1:1:secret:db-AbCdEf',
      { path: 'arn:aws:secretsmanager:us-east-1:1:secret:db-AbCdEf' },
    ],
  ])('reads %s', (text, ref) => {
    expect(parseReference(text, noStores)).toEqual({ kind: 'variable', ref });
    expect(parseReference(text.replace('dso:', 'dsofile:'), noStores)).toEqual({
      ...{ kind: 'file', ref },
    });
  });

  test('takes the first element for the name of a store of dso.yaml', () => {
    const refOf = (text: string) => (parseReference(text, withDefault) as Reference).ref;
    expect(refOf('dso://vault/secret/data/app#key')).toEqual({
      ...{ provider: 'vault', path: 'secret/data/app', field: 'key' },
    });
    expect(refOf('dso://my-app/db')).toEqual({ provider: 'aws', path: 'my-app/db' });
    expect(refOf('dso://aws/vault/db')).toEqual({ provider: 'aws', path: 'vault/db' });
    expect(refOf('dso://vault')).toEqual({ provider: 'aws', path: 'vault' });
  });

  test('adds the only store, and requires a name if there are several without a default', () => {
    expect(parseReference('dso://db', oneStore)).toMatchObject({ ref: { provider: 'aws' } });
    expect(faultOf('dso://db#x', twoStores)).toBe(
      'the reference names no store, and dso.yaml has several; ' +
        'write dso://aws/db#x, or defaults.provider in dso.yaml',
    );
  });

  test.each(['', 'postgres', 'https://host/path', 'dso', 'dso:', 'adso:/x', 'dsofile'])(
    'returns undefined for %j',
    (text) => {
      expect(parseReference(text, noStores)).toBeUndefined();
    },
  );

  test.each([
    ['dso:///my-app/db', 'begins with dso://, not with dso:///; write dso://my-app/db'],
    ['dsofile:///a', 'begins with dsofile://, not with dsofile:///; write dsofile://a'],
    ['dso:/a', 'begins with dso://, not with dso:/; write dso://a'],
    ['DSO://a', 'begins with dso://, not with DSO://; write dso://a'],
    ['dso://', 'the path  is empty'],
    ['dso:///', 'the path  is empty'],
    ['dso://#a', 'the path  is empty'],
    ['dso://a#', 'the field  is empty'],
    ['dso://a//b', 'has an empty element'],
    ['dso://a/', 'has an empty element'],
    ['dso://../../etc/shadow', 'has a "." or ".." element'],
    ['dso://a/./b', 'has a "." or ".." element'],
    ['dso://a%2F%2e%2e%2fb', 'has a "." or ".." element'],
    ['dso://a\\..\\b', 'has a backslash'],
    ['dso://a b', 'has a space'],
    ['dso://a\u202eb', 'not printable'],
    ['dso://a\0', 'not printable'],
    ['dso://a#b\n', 'has a space'],
    [' dso://a', 'is a part of a longer text'],
    ['postgres://app:dso://db#password@host', 'is a part of a longer text'],
    ['dso://a#user:dso://a#password', 'is a part of a longer text'],
    [`dso://${'a'.repeat(1_048_576)}`, 'of 1048582 characters is too long; use at most 2048'],
  ])('refuses %.60j', (text, words) => {
    const fault = faultOf(text);
    expect(fault).toContain(words);
    expect(fault.length).toBeLessThan(700);
    expect(fault).toMatch(/^[^\p{C}]+$/u);
  });

  test('reads what formatReference writes', () => {
    const element = fc
      .stringMatching(/^[A-Za-z0-9_+=.@:-]{1,12}$/)
      .filter((text) => !/^\.\.?$/.test(text));
    const path = fc.array(element, { minLength: 1, maxLength: 4 }).map((list) => list.join('/'));
    const reference = fc.record({
      kind: fc.constantFrom('variable' as const, 'file' as const),
      ref: fc.record(
        { provider: fc.constantFrom('aws', 'vault'), path, field: fc.stringMatching(/^\S{1,20}$/) },
        { requiredKeys: ['provider', 'path'] },
      ),
    });
    fc.assert(
      fc.property(reference, (written) => {
        const text = formatReference(written);
        const parsed = parseReference(text, twoStores)!;
        // Characters that are not printable are refused.
        if ('fault' in parsed) expect(parsed.fault).toMatch(/printable|longer text/);
        else expect(parsed).toEqual(written);
      }),
    );
  });

  test('never throws', () => {
    fc.assert(
      fc.property(fc.string(), fc.constantFrom('dso://', 'dsofile://', 'dso:'), (text, prefix) => {
        for (const config of [noStores, twoStores]) {
          const parsed = parseReference(prefix + text, config);
          if (parsed !== undefined && 'fault' in parsed) expect(parsed.hint).not.toBe('');
        }
      }),
    );
  });
});
