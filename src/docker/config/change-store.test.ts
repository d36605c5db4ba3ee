import { describe, expect, test } from '@jest/globals';
import { type StoreChange, changeStore } from './change-store.ts';
import { readDsoConfig } from './read.ts';

type Named = Omit<StoreChange, 'auth'> & { method?: string; params?: Record<string, string> };

function change(text: string, { method, params = {}, ...named }: Named) {
  const auth = { method, params: new Map(Object.entries(params)) };
  const result = changeStore(text, 'dso.yaml', { ...named, auth });
  expect(readDsoConfig(result.text, 'dso.yaml').problems).toEqual([]);
  return result;
}
const settings = (map: Partial<Record<string, string | string[]>>): StoreChange['settings'] =>
  new Map(Object.entries(map)) as StoreChange['settings'];
const aws: Named = { name: 'aws', type: 'aws', settings: settings({ region: 'us-east-1' }) };
const vault: Named = {
  ...({ name: 'vault', type: 'vault' } as const),
  settings: settings({ address: 'https://vault.example.com:8200' }),
};

describe('changeStore', () => {
  test('makes a new file', () => {
    expect(change('', aws).text).toBe(
      [
        '# The stores of this host. docs/docker/dso-yaml.md describes every key.',
        '',
        'providers:',
        '  aws:',
        '    type: aws',
        '    region: us-east-1',
        '',
      ].join('\n'),
    );
  });

  test('keeps the comments of a file that has nothing else', () =>
    expect(change('# ours\n\n', aws).text).toBe(
      '# ours\n\nproviders:\n  aws:\n    type: aws\n    region: us-east-1\n',
    ));

  test('keeps comments, other stores, scalars as written and the habits of the file', () => {
    const text = [
      '# ours',
      'providers:',
      '  vault:   # production',
      '    type: vault',
      '    address: "https://old.example.com:8200" # moves in May',
      '    auth: {method: approle, params: {role_id: 0123, secret_id_file: /etc/dso/s}}',
      '',
      '  # the second one',
      '  aws: {type: aws, region: us-east-1}',
      'defaults: {provider: vault}',
      'secrets:',
      '- name: 0123',
      '  inject: {type: file, mode: 0400}',
      '  targets:',
      '',
    ].join('\n');
    const changed = change(text, vault).text;
    expect(changed).toBe(
      text
        .replace('old.', 'vault.')
        .replace('  vault:   # production\n', '  vault:\n    # production\n'),
    );
    expect(change(changed, vault).text).toBe(changed);
  });

  test('keeps what is not named', () => {
    const first = change('', {
      ...vault,
      method: 'approle',
      params: { role_id: 'a', secret_id_file: '/s' },
    });
    const second = change(first.text, {
      ...vault,
      settings: settings({}),
      params: { role_id: 'b', secret_id_file: '/s' },
    });
    expect(second.text).toBe(first.text.replace('role_id: a', 'role_id: b'));
    expect(second.method).toBe('approle');
  });

  test('keeps the flat form of the same store', () => {
    const text =
      'provider: aws   # ours\nconfig:\n  region: eu-west-1\nagent: {watch: {polling_interval: 1m}}\n';
    expect(change(text, aws).text).toBe(
      text.replace('   # ours', ' # ours').replace('eu-west-1', 'us-east-1'),
    );
    expect(change('provider: aws\n', aws).text).toBe(
      'provider: aws\nconfig:\n  region: us-east-1\n',
    );
  });

  test('moves the store of the flat form under providers for a second one', () => {
    const text =
      '# ours\nprovider: aws\nconfig:\n  region: eu-west-1 # near\nsecrets:\n  - name: a\n';
    const { text: changed, notes } = change(text, vault);
    expect(changed).toBe(
      [
        '# ours',
        'providers:',
        '  aws:',
        '    type: aws',
        '    region: eu-west-1 # near',
        '  vault:',
        '    type: vault',
        '    address: https://vault.example.com:8200',
        'secrets:',
        '  - name: a',
        'defaults:',
        '  provider: aws',
        '',
      ].join('\n'),
    );
    expect(notes).toEqual([
      'aws is now under providers, which can have several stores',
      'references that name no store still go to aws (defaults.provider)',
    ]);
  });

  test('says no default where there is one', () => {
    const { text } = change(change(change('', aws).text, vault).text, {
      ...vault,
      name: 'second',
    });
    expect(text.match(/defaults:/g)).toHaveLength(1);
    expect(text).toContain('defaults:\n  provider: aws\n');
  });

  test('replaces one address by several, and back', () => {
    const several = { ...vault, settings: settings({ addresses: ['https://a', 'https://b'] }) };
    const first = change(change('', vault).text, several).text;
    expect(first).toContain('addresses:\n      - https://a\n      - https://b\n');
    expect(first).not.toContain('address:');
    expect(change(first, vault).text).toBe(change('', vault).text);
  });

  test('removes parameters that the new method does not have, and names their files', () => {
    const { text } = change('', {
      ...vault,
      method: 'approle',
      params: { role_id: 'a', secret_id_file: '/etc/dso/credentials/vault.secret_id' },
    });
    const changed = change(text, {
      ...vault,
      method: 'jwt',
      params: { role: 'r', token_file: '/t' },
    });
    expect(changed.text).not.toMatch(/role_id|secret_id/);
    expect(changed.unusedFiles).toEqual(['/etc/dso/credentials/vault.secret_id']);
  });

  test('removes a credential that stood in the file', () => {
    const text =
      'providers: {vault: {type: vault, address: https://v, auth: {method: token, params: {token: abc}}}}\n';
    const changed = change(text, { ...vault, params: { token_file: '/t' } }).text;
    expect(changed).not.toContain('abc');
  });

  test.each([
    [{ params: { role_id: 'a' } }, 'method: approle'],
    [{ params: { cert_file: '/c', key_file: '/k' } }, 'method: cert'],
  ])('finds the method of the parameters %j', (named, expected) =>
    expect(change('', { ...vault, ...named }).text).toContain(expected),
  );

  test.each([
    ['a: [', 'is not YAML'],
    ['- a\n', 'is not a map'],
    ['a', 'is not a map'],
    ['providers: 7', 'not a plain map'],
    ['x: &v {type: vault}\nproviders: {vault: *v}', 'not a plain map'],
    ['providers: {vault: {type: aws}}', 'has the type aws'],
    [`a: ${'['.repeat(100_000)}`, 'nested more than'],
  ])('refuses the file %j', (text, message) =>
    expect(() => change(text.slice(0, 200_000), vault)).toThrow(message),
  );

  test.each([
    [{ params: { mount: 'm' } }, 'no method of vault is clear from mount'],
    [
      { method: 'token', params: { role_id: 'a' } },
      'role_id is not a parameter of the method token',
    ],
  ])('refuses %j', (named, message) =>
    expect(() => change('', { ...vault, ...named })).toThrow(message),
  );
});
