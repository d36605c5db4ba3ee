import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import { parseSharedIdentityGrants } from '../shared-identity-grants.ts';
import { readVaultConfig } from './config.ts';
import { planVault } from './parameters.ts';

const page = readFileSync(join(import.meta.dirname, '../../../docs/providers/vault.md'), 'utf8');
const blocks = (language: string): string[] =>
  [...page.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))].map(([, text = '']) => text);
const documents = blocks('yaml').flatMap((text) =>
  parseAllDocuments(text).map((document) => document.toJS() as Record<string, unknown>),
);

describe('docs/providers/vault.md', () => {
  test('has classes without a fault', () => {
    const classes = documents.filter(({ kind }) => kind === 'SecretProviderClass') as unknown as {
      spec: { parameters: Record<string, string>; secretObjects?: { data: { objectName: string }[] }[] };
    }[];
    expect(classes).toHaveLength(5);
    for (const { spec } of classes) {
      const { plan, problems } = planVault('vault')(spec.parameters);
      expect(problems).toEqual([]);
      const paths = plan!.files.map(({ path }) => path);
      for (const { data } of spec.secretObjects ?? [])
        for (const { objectName } of data) expect(paths).toContain(objectName);
    }
  });

  test('certificate and key of its example are of one issue', () => {
    const [pki] = blocks('yaml').filter((text) => text.includes('secretPath: pki/issue'));
    const { spec } = parseAllDocuments(pki!)[0]!.toJS() as { spec: { parameters: Record<string, string> } };
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
    expect(readVaultConfig('vault', values).facts.addresses).toEqual(['https://vault.vault:8200']);
  });

  test('names every variable that is read', () => {
    const read = new Set<string>();
    const env = new Proxy<Record<string, string | undefined>>(
      {},
      { get: (_, name) => void read.add(String(name)) },
    );
    readVaultConfig('vault', env);
    const ours = [...read].filter(
      (name) => !name.startsWith('KEYFERRY_VAULT_') || !read.has(name.replace('KEYFERRY_', '')),
    );
    expect(ours.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
    expect(ours).toHaveLength(21);
  });
});
