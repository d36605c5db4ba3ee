import { describe, expect, test } from '@jest/globals';
import type { Problem } from '../../src/core/plan.ts';
import type { Parameters } from '../../src/core/workload.ts';
import { providers } from '../../src/providers/registry.ts';
import { runSteps } from '../../src/core/steps.ts';

/** A class without problems of each provider: its parameters, and the fields of its object. */
const classes: Readonly<
  Record<string, { readonly parameters: Parameters; readonly fields: string }>
> = {
  cce: { parameters: {}, fields: 'objectName: a, objectType: csms, objectVersion: latest' },
  aws: {
    parameters: { region: 'eu-west-1', failoverRegion: 'us-east-1' },
    fields: 'objectName: a, objectType: ssmparameter',
  },
  alibabacloud: { parameters: { region: 'cn-hangzhou' }, fields: 'objectName: a' },
  vault: { parameters: { roleName: 'app' }, fields: 'objectName: a, secretPath: b' },
  openbao: { parameters: { roleName: 'app' }, fields: 'objectName: a, secretPath: b' },
  local: { parameters: {}, fields: 'objectName: a' },
};

async function problemsOf(
  name: string,
  { parameters = {}, field = '' }: { readonly parameters?: Parameters; readonly field?: string },
): Promise<readonly Problem[]> {
  const complete = classes[name]!;
  const plan = await providers[name]!.plan();
  const objects = `- {${complete.fields}${field && `, ${field}`}}`;
  return runSteps(plan({ ...complete.parameters, ...parameters, objects })).problems;
}

const linesOf = (problems: readonly Problem[]): readonly string[] =>
  problems.map(({ severity, message, hint }) => `${severity}: ${message}; ${hint}`);

test('the classes of this file have no problems', async () => {
  expect(Object.keys(classes).sort()).toEqual(Object.keys(providers).sort());
  for (const name of Object.keys(classes)) expect(await problemsOf(name, {})).toEqual([]);
});

describe('a parameter that says where or with which identity to read fails the class if it is unknown', () => {
  test.each([
    // The names of other vendors
    ['vault', 'openbaoAddress', 'write provider: openbao, or vaultAddress'],
    ['vault', 'openbaoNamespace', 'write provider: openbao, or vaultNamespace'],
    ['vault', 'baoAddress', 'write provider: openbao, or vaultAddress'],
    ['vault', 'region', 'remove it: Vault has no regions'],
    ['aws', 'usePodOIDC', 'write usePodIdentity'],
    ['aws', 'crossAccountRoleArn', /^annotate the ServiceAccount with eks\.amazonaws\.com/],
    ['alibabacloud', 'usePodIdentity', 'write usePodServiceAccountToken'],
    ['alibabacloud', 'vaultNamespace', 'remove it'],
    ['cce', 'usePodServiceAccountToken', 'write usePodOIDC'],
    ['cce', 'region', 'remove it: the operator of Keyferry configures the region'],
    ['openbao', 'kmsEndpoint', 'write baoAddress or openbaoAddress or vaultAddress'],
    ['local', 'vaultAddress', 'remove it'],
    ['local', 'roleName', 'remove it'],
    // Names that are nearly right
    ['alibabacloud', 'regionId', 'write region'],
    ['alibabacloud', 'roleArn', 'write crossAccountRoleArn in the object'],
    ['alibabacloud', 'kmsEndpoint', 'write kmsEndpoint in the object'],
    ['aws', 'AWS_REGION', 'write region'],
    ['aws', 'regoin', 'write region'],
    ['aws', 'failoverRegions', 'write failoverRegion'],
    ['aws', 'usePodIdentiy', 'write usePodIdentity'],
    ['aws', 'roleArn', /^annotate the ServiceAccount/],
    ['cce', 'agencyURN', 'write agencyUrn'],
    ['cce', 'usePodOidc', 'write usePodOIDC'],
    ['vault', 'vaultAdress', 'write vaultAddress'],
    ['vault', 'VaultNamespace', 'write vaultNamespace'],
    ['vault', 'VAULT_ADDR', 'write vaultAddress'],
    ['vault', 'namespace', 'write vaultNamespace'],
    ['vault', 'rolename', 'write roleName'],
    ['vault', 'vaultRole', 'write roleName'],
    ['vault', 'vaultAuthMountpath', 'write vaultAuthMountPath'],
    ['openbao', 'openbaoAdress', 'write openbaoAddress'],
    // The mode is of an object
    ['vault', 'filePermission', 'write filePermission in the object'],
    ['aws', 'mode', 'write filePermission in the object'],
  ])('%s: %s', async (provider, name, hint) => {
    expect(await problemsOf(provider, { parameters: { [name]: 'x' } })).toContainEqual({
      ...{ severity: 'error', code: 'INVALID_CLASS', parameter: name },
      message: expect.stringMatching(
        RegExp(`^the parameter ${name} is unknown to ${provider}, and it says \\w+`),
      ),
      hint: typeof hint === 'string' ? hint : expect.stringMatching(hint),
    });
  });

  test('but an empty one is a warning: it says nothing', async () => {
    const problems = await problemsOf('vault', { parameters: { openbaoNamespace: ' ' } });
    expect(problems.map(({ severity }) => severity)).toEqual(['warning']);
  });
});

describe('a key of an object that says where, with which identity or with which mode fails the class', () => {
  test.each([
    ['vault', 'mode: 0400', 'mode, which says which mode a file gets; write filePermission'],
    ['cce', 'permissions: "0400"', /; write filePermission$/],
    ['aws', 'FileMode: "0400"', /; write filePermission$/],
    ['local', 'filePermision: "0400"', /; write filePermission$/],
    ['aws', 'region: us-east-1', /; write the parameter region of the class$/],
    ['aws', 'jmesPath: [{path: b, mode: "0400"}]', /jmesPath item 1 .*; write filePermission$/],
    [
      'aws',
      'objectAlias: b, failoverObject: {objectName: a, region: us-east-1}',
      /failoverObject .*; write the parameter failoverRegion of the class$/,
    ],
    ['alibabacloud', 'roleArn: x', /; write crossAccountRoleArn$/],
    ['alibabacloud', 'endpoint: x', /; write kmsEndpoint$/],
    ['vault', 'namespace: x', /; write the parameter vaultNamespace of the class$/],
    ['local', 'region: x', /; remove it$/],
  ])('%s: %s', async (provider, field, line) => {
    expect(linesOf(await problemsOf(provider, { field }))).toEqual([
      typeof line === 'string'
        ? `error: item 1 has an unknown key: ${line}`
        : expect.stringMatching(line),
    ]);
  });
});

test.each(['comment', 'fileName', 'reason', 'nodeName', 'env_auth_mode', 'objctName', 'owner'])(
  'the unknown name %s is a warning',
  async (name) => {
    for (const provider of Object.keys(classes)) {
      const inBoth = { parameters: { [name]: 'x' }, field: `${name}: x` };
      const problems = await problemsOf(provider, inBoth);
      expect(problems.map(({ severity }) => severity)).toEqual(['warning', 'warning']);
    }
  },
);
