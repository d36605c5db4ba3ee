import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { syncedFileNames, readPage, variablesRead } from '../../../test/docs-page.ts';
import { parseSharedIdentityGrants } from '../shared/identity/grants-file.ts';
import { readVaultSettings } from './config.ts';
import { planVault } from './class/class.ts';

const { text: page, blocks, documents, classes } = readPage('providers/vault.md');

describe('docs/providers/vault.md', () => {
  test('has classes without a fault', () => {
    expect(classes()).toHaveLength(5);
    for (const shown of classes()) {
      const { plan, problems } = planVault('vault')(shown.spec.parameters);
      expect(problems).toEqual([]);
      const paths = plan!.files.map(({ path }) => path);
      for (const name of syncedFileNames(shown)) expect(paths).toContain(name);
    }
  });

  test('certificate and key of its example are of one issue', () => {
    const [pki] = blocks('yaml').filter((text) => text.includes('secretPath: pki/issue'));
    const { spec } = parse(pki!) as { spec: { parameters: Record<string, string> } };
    expect(planVault('vault')(spec.parameters).plan!.refs).toHaveLength(1);
  });

  test('has grants that are understood', () => {
    const grants = blocks('yaml').filter((text) => text.startsWith('grants:'));
    expect(grants).toHaveLength(1);
    expect(parseSharedIdentityGrants(grants[0]!, 'grants.yaml')).toHaveLength(1);
  });

  test('has variables that can be used', () => {
    const [env] = documents.filter((document) => 'env' in document) as unknown as {
      env: { name: string; value: string }[];
    }[];
    const values = Object.fromEntries(env!.env.map(({ name, value }) => [name, value]));
    expect(readVaultSettings('vault', values).nodeFacts.addresses).toEqual([
      'https://vault.vault:8200',
    ]);
  });

  test('names every variable that is read', () => {
    const read = variablesRead((env) => readVaultSettings('vault', env));
    const ours = read.filter(
      (name) =>
        !name.startsWith('KEYFERRY_VAULT_') || !read.includes(name.replace('KEYFERRY_', '')),
    );
    expect(ours.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
    expect(ours).toHaveLength(21);
  });
});
