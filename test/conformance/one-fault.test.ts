import { describe, expect, test } from '@jest/globals';
import type { Parameters } from '../../src/core/workload.ts';
import { providers } from '../../src/providers/registry.ts';
import { runSteps } from '../../src/core/steps.ts';

async function problemsOf(provider: string, parameters: Parameters): Promise<readonly unknown[]> {
  const plan = await providers[provider]?.plan();
  if (plan === undefined) throw new Error(`no provider ${provider}`);
  const { plan: compiled, problems } = runSteps(plan(parameters));
  if (problems.some(({ severity }) => severity === 'error')) expect(compiled).toBeUndefined();
  return problems;
}

/** What each provider needs besides `objects`. */
const common: Readonly<Record<string, Parameters>> = {
  vault: { roleName: 'app' },
  openbao: { roleName: 'app' },
};

describe.each(Object.keys(providers))('%s reports one fault once', (provider) => {
  test('objects in the form of Azure, as a map', async () => {
    const objects = 'array:\n  - |\n    objectName: a\n    objectType: secret\n';
    expect(await problemsOf(provider, { ...common[provider], objects })).toMatchObject([
      { severity: 'error', message: expect.stringContaining("the form of Azure's provider") },
    ]);
  });

  test('objects in the form of Azure, as a list of texts', async () => {
    const objects = '- |\n  objectName: a\n  objectType: secret\n';
    expect(await problemsOf(provider, { ...common[provider], objects })).toMatchObject([
      { severity: 'error', message: expect.stringContaining("the form of Azure's provider") },
    ]);
  });

  test('secrets in the form of Google Cloud', async () => {
    const secrets = '- resourceName: projects/p/secrets/s/versions/latest\n  path: a\n';
    expect(await problemsOf(provider, { ...common[provider], secrets })).toMatchObject([
      {
        severity: 'error',
        parameter: 'secrets',
        message: "`secrets` is the form of Google Cloud's provider",
      },
    ]);
  });

  test('a misspelt objects', async () => {
    expect(await problemsOf(provider, { ...common[provider], object: '[]' })).toMatchObject([
      { severity: 'error', parameter: 'object', hint: 'did you mean objects?' },
    ]);
  });
});

describe('one fault is one problem', () => {
  test.each(['vault', 'openbao'])('a misspelt roleName of %s', async (provider) => {
    const objects = '- {objectName: a, secretPath: secret/data/a, secretKey: k}';
    expect(await problemsOf(provider, { rolename: 'app', objects })).toMatchObject([
      { severity: 'error', parameter: 'rolename', hint: expect.stringContaining('roleName') },
    ]);
  });

  test('former names of parameters and keys', async () => {
    const objects = '- {objectName: a, objectPath: secret/data/a, secretKey: k}';
    expect(await problemsOf('vault', { vaultRole: 'app', objects })).toMatchObject([
      { severity: 'error', parameter: 'vaultRole', hint: 'write roleName' },
      { severity: 'error', line: 1, hint: 'did you mean secretPath?' },
    ]);
  });

  test('a misspelt key that is required', async () => {
    const objects = '- {objectname: a, objectType: csms, objectVersion: latest}';
    expect(await problemsOf('cce', { objects })).toMatchObject([
      { severity: 'error', line: 1, hint: expect.stringContaining('objectName') },
    ]);
  });

  test('a key that another item misspells is missing nevertheless', async () => {
    const type = 'objectType: csms, objectVersion: latest';
    const objects = `- {objectname: a, ${type}}\n- {${type}}`;
    expect(await problemsOf('cce', { objects })).toMatchObject([
      { line: 1, severity: 'error' },
      { line: 2, message: 'item 2 has no objectName' },
    ]);
  });

  test.each(['text', '[{objectName: b}]'])('a failoverObject that is %s', async (value) => {
    const arn = 'arn:aws:secretsmanager:eu-west-1:111122223333:secret:a-AbCdEf';
    const objects = `- {objectName: "${arn}", failoverObject: ${value}}`;
    const parameters = { region: 'eu-west-1', failoverRegion: 'us-east-1', objects };
    expect(await problemsOf('aws', parameters)).toMatchObject([
      { severity: 'error', message: 'failoverObject of item 1 must be a map' },
    ]);
  });

  test('a number that is not a version, without a hint about it', async () => {
    const objects = '- {objectName: a, objectType: oos, objectVersion: 1.0}';
    expect(await problemsOf('alibabacloud', { region: 'cn-hangzhou', objects })).toMatchObject([
      { severity: 'error', message: expect.stringContaining('is not a version') },
    ]);
  });
});

describe('scalars that the vendor reads otherwise are hints', () => {
  const alias = '{objectName: a, objectAlias: 0123';
  test.each([
    ['aws', { region: 'eu-west-1', objects: `- ${alias}, objectType: secretsmanager}` }],
    ['alibabacloud', { region: 'cn-hangzhou', objects: `- ${alias}}` }],
    ['cce', { objects: `- ${alias}, objectType: csms, objectVersion: latest}` }],
  ])('of %s', async (provider, parameters) => {
    expect(await problemsOf(provider, parameters)).toMatchObject([
      {
        severity: 'hint',
        message: expect.stringMatching(/^objectAlias of item 1 is 0123 here; .* 83$/),
      },
    ]);
  });

  test.each(['vault', 'openbao', 'local'])(
    'but not of %s, which reads the same',
    async (provider) => {
      const objects = '- {objectName: 0123, secretPath: secret/data/a, secretKey: k}';
      const problems = await problemsOf(provider, { ...common[provider], objects });
      expect(
        problems.filter((problem) => (problem as { severity: string }).severity === 'hint'),
      ).toEqual([]);
    },
  );
});
