import { describe, expect, test } from '@jest/globals';
import type { Problem } from '../core/plan.ts';
import { providers } from './registry.ts';
import { runSteps } from '../core/steps.ts';

type Case = readonly [provider: string, name: string, severity: string, hint: string];

async function problemOf(
  provider: string,
  parameters: Readonly<Record<string, string>>,
  name: string,
): Promise<string[]> {
  const plan = await providers[provider]!.plan();
  const isAbout = ({ message }: Problem): boolean =>
    new RegExp(`(the parameter|unknown key:) ${name}\\b`).test(message);
  return runSteps(plan(parameters))
    .problems.filter(isAbout)
    .map(({ severity, hint }) => `${severity}: ${hint}`);
}

describe('an unknown parameter that says where or with which identity to read is an error with the right name', () => {
  test.each<Case>([
    ['vault', 'vaultServer', 'error', 'write vaultAddress'],
    ['vault', 'vaultHost', 'error', 'write vaultAddress'],
    ['vault', 'vaultAuthPath', 'error', 'write vaultKubernetesMountPath or vaultAuthMountPath'],
    [
      'vault',
      'vaultAuthMountPoint',
      'error',
      'write vaultKubernetesMountPath or vaultAuthMountPath',
    ],
    ['vault', 'vaultAuthMethod', 'error', 'write authMethod'],
    ['vault', 'auth', 'error', 'write authMethod'],
    ['vault', 'vaultAudience', 'error', 'write audience'],
    ['openbao', 'baoAddr', 'error', 'write baoAddress'],
    ['openbao', 'openbaoRole', 'error', 'write openbaoRoleName'],
    ['openbao', 'openbaoAuthMountPth', 'error', 'write openbaoAuthMountPath'],
    ['cce', 'podOIDC', 'error', 'write usePodOIDC'],
    ['alibabacloud', 'oidcProviderArn', 'error', 'remove it'],
    ['alibabacloud', 'useRRSA', 'error', 'write usePodServiceAccountToken'],
  ])('%s: %s', async (provider, name, severity, hint) => {
    expect(await problemOf(provider, { [name]: 'x' }, name)).toEqual([`${severity}: ${hint}`]);
  });

  test.each(['aws', 'vault', 'cce', 'alibabacloud', 'local'])(
    '%s has no parameter for a ServiceAccount, and the remedy is to remove it',
    async (provider) => {
      expect(await problemOf(provider, { serviceAccount: 'web' }, 'serviceAccount')).toEqual([
        'error: remove it: the ServiceAccount of the pod counts',
      ]);
    },
  );

  test.each([
    ['vault', 'roleId', 'write authMethod, and put it into a Secret for nodePublishSecretRef'],
    ['alibabacloud', 'accessKeyId', 'put the keys into a Secret for nodePublishSecretRef'],
    ['aws', 'secretAccessKey', 'remove it: a class is no place for keys'],
    ['cce', 'projectId', 'remove it: the operator of Keyferry configures the project'],
  ])('%s: %s', async (provider, name, hint) => {
    expect(await problemOf(provider, { [name]: 'x' }, name)).toEqual([`error: ${hint}`]);
  });
});

describe('any other unknown name is a warning with a remedy', () => {
  test.each<Case>([
    ['aws', 'failover', 'warning', 'did you mean failoverRegion?'],
    ['vault', 'skipTLSVerify', 'warning', 'did you mean vaultSkipTLSVerify?'],
    ['vault', 'file', 'warning', 'check the spelling, or remove it'],
    ['local', 'name', 'warning', 'check the spelling, or remove it'],
  ])('%s: %s', async (provider, name, severity, hint) => {
    expect(await problemOf(provider, { [name]: 'x' }, name)).toEqual([`${severity}: ${hint}`]);
  });

  test('a key suggests only keys that the object does not have', async () => {
    const objects = '- {objectName: a, objectType: b, version: 2}';
    expect(await problemOf('local', { objects }, 'objectType')).toEqual([
      'warning: check the spelling, or remove it',
    ]);
    expect(await problemOf('local', { objects }, 'version')).toEqual([
      'warning: did you mean objectVersion?',
    ]);
  });
});

describe('a parameter in the wrong place is one problem', () => {
  test.each([
    ['vaultRole: app', 'write the parameter roleName of the class'],
    ['role: app', 'write the parameter roleName of the class'],
  ])('%s of an object', async (key, hint) => {
    const plan = await providers.vault!.plan();
    const objects = `- {objectName: a, secretPath: secret/data/a, ${key}}`;
    expect(runSteps(plan({ objects })).problems).toMatchObject([{ severity: 'error', hint }]);
  });
});
