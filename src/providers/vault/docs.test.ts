import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { syncedFileNames, readPage, variablesRead } from '../../../test/docs-page.ts';
import { parseSharedIdentityGrants } from '../shared/identity/grants-file.ts';
import { readVaultSettings } from './config.ts';
import { planVault as planInSteps } from './class/class.ts';
import { runSteps } from '../../core/steps.ts';

const planVault =
  (dialect: Parameters<typeof planInSteps>[0]) =>
  (...args: Parameters<ReturnType<typeof planInSteps>>) =>
    runSteps(planInSteps(dialect)(...args));

const { text: page, blocks, documents, classes } = readPage('providers/vault.md');

describe('docs/providers/vault.md', () => {
  test('has classes without a problem', () => {
    expect(classes()).toHaveLength(5);
    for (const shown of classes()) {
      const { plan, problems } = planVault('vault')(shown.spec.parameters);
      expect(problems).toEqual([]);
      const paths = plan!.files.map(({ path }) => path);
      for (const name of syncedFileNames(shown)) expect(paths).toContain(name);
    }
  });

  test('has an example whose certificate and key come from one read', () => {
    const [pki] = blocks('yaml').filter((text) => text.includes('secretPath: pki/issue'));
    const { spec } = parse(pki!) as { spec: { parameters: Record<string, string> } };
    expect(planVault('vault')(spec.parameters).plan!.refs).toHaveLength(1);
  });

  test('has valid grants', () => {
    const grants = blocks('yaml').filter((text) => text.startsWith('grants:'));
    expect(grants).toHaveLength(1);
    expect(parseSharedIdentityGrants(grants[0]!, 'grants.yaml')).toHaveLength(1);
  });

  test('has valid variables', () => {
    const [env] = documents.filter((document) => 'env' in document) as unknown as {
      env: { name: string; value: string }[];
    }[];
    const values = Object.fromEntries(env!.env.map(({ name, value }) => [name, value]));
    expect(readVaultSettings('vault', values).nodeFacts.addresses).toEqual([
      'https://vault.vault:8200',
    ]);
  });

  test('names every variable that Keyferry reads', () => {
    const read = variablesRead((env) => readVaultSettings('vault', env));
    const ours = read.filter(
      (name) =>
        !name.startsWith('KEYFERRY_VAULT_') || !read.includes(name.replace('KEYFERRY_', '')),
    );
    expect(ours.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
    expect(ours).toHaveLength(21);
  });
});
