import { describe, expect, test } from '@jest/globals';
import { parseSharedIdentityGrants } from './grants-file.ts';

const validGrants = `
grants:
  - provider: local
    namespaces: [shop, team-*]
    serviceAccounts: ['*']
    names: [local/eu/prod/**]
`;

function errorOf(text: string): string {
  try {
    parseSharedIdentityGrants(text, '/etc/grants.yaml');
  } catch (thrown) {
    return (thrown as Error).message.replace('cannot use the grants in /etc/grants.yaml: ', '');
  }
  return 'accepted';
}

describe('the grants file', () => {
  test('can be YAML', () => {
    const [grant] = parseSharedIdentityGrants(validGrants, 'f');
    expect(grant?.provider).toBe('local');
    expect(grant?.namespaces.map((matches) => matches('team-a'))).toEqual([false, true]);
    expect(grant?.names.map((matches) => matches('local/eu/prod/db'))).toEqual([true]);
    expect(grant?.roles).toEqual([]);
    expect(grant?.methods).toEqual([]);
  });

  test('can be JSON', () => {
    const text = JSON.stringify({
      grants: [
        {
          provider: 'aws',
          namespaces: ['a'],
          serviceAccounts: ['b'],
          names: ['ssm//x'],
          roles: ['arn:**'],
        },
      ],
    });
    expect(parseSharedIdentityGrants(text, 'f')[0]?.roles).toHaveLength(1);
  });

  test('can grant nothing', () => {
    expect(parseSharedIdentityGrants('grants: []', 'f')).toEqual([]);
  });

  test.each([
    ['', 'line 1: it is not a map with the key grants'],
    ['[]', 'line 1: it is not a map with the key grants'],
    ['grants:\n', 'line 1: grants: invalid input: expected array, received null'],
    ['# none\ngrant: []', 'line 2: unknown key grant, did you mean grants?'],
    [
      validGrants.replace('names:', 'name:'),
      /^line 6: unknown key grants\.0\.name, did you mean names\?|names: invalid input/,
    ],
    [
      validGrants.replace('namespaces:', 'namespacs:'),
      'line 4: unknown key grants.0.namespacs, did you mean namespaces?',
    ],
    [
      `${validGrants}    methods: [DELETE]`,
      'line 7: grants.0.methods.0: invalid option: expected one of "post"|"put"',
    ],
    [`${validGrants}    role: [x]`, 'line 7: unknown key grants.0.role, did you mean roles?'],
    [`${validGrants}    __proto__: {roles: ['**']}`, /unknown key grants\.0\.__proto__/],
    [
      validGrants.replace('local\n', 'locl\n'),
      'line 3: grants.0.provider is not one of alibabacloud, aws, local, openbao, vault',
    ],
    [
      validGrants.replace('local\n', 'cce\n'),
      'line 3: grants.0.provider is not one of alibabacloud, aws, local, openbao, vault',
    ],
    [
      validGrants.replace("['*']", "'*'"),
      'line 5: grants.0.serviceAccounts: invalid input: expected array, received string',
    ],
    [validGrants.replace('[local/eu/prod/**]', '[]'), /^line 6: grants\.0\.names: too small/],
    [
      validGrants.replace('[local/eu/prod/**]', '[7]'),
      'line 6: grants.0.names.0: invalid input: expected string, received number',
    ],
    [`${validGrants}${validGrants}`, 'line 8: it is not YAML: duplicate key'],
    ['grants: [', /^line 1: it is not YAML/],
    [`${validGrants}  - {<<: {roles: ['**']}}`, /unknown key grants\.1\.<</],
    [`${validGrants}---\ngrants: []`, 'line 7: a second YAML document begins'],
    ['grants: [*none]', 'line 1: the alias none has no anchor before it'],
    ['grants: !!js/function x', /^line 1: it is not YAML/],
    [validGrants.slice(0, -20), /^line 6: /],
  ])('rejects %j', (text, message) => {
    expect(errorOf(text)).toEqual(
      typeof message === 'string' ? message : expect.stringMatching(message),
    );
  });
});
