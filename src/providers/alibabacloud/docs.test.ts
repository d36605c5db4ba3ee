import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import { parseSharedIdentityGrants } from '../shared-identity-grants.ts';
import { readAlibabaConfig } from './config.ts';
import { planAlibaba } from './parameters.ts';

const page = readFileSync(join(import.meta.dirname, '../../../docs/providers/alibabacloud.md'), 'utf8');
const blocks = (language: string): string[] =>
  [...page.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))].map(([, text = '']) => text);
const documents = blocks('yaml').flatMap((text) =>
  parseAllDocuments(text).map((document) => document.toJS() as Record<string, unknown>),
);

describe('docs/providers/alibabacloud.md', () => {
  test('has classes without a fault', () => {
    const classes = documents.filter(({ kind }) => kind === 'SecretProviderClass') as unknown as {
      spec: { parameters: Record<string, string>; secretObjects?: { data: { objectName: string }[] }[] };
    }[];
    expect(classes).toHaveLength(3);
    for (const { spec } of classes) {
      const { plan, problems, skipped } = planAlibaba(spec.parameters);
      expect({ problems, skipped }).toEqual({ problems: [], skipped: undefined });
      const paths = plan!.files.map(({ path }) => path);
      for (const { data } of spec.secretObjects ?? [])
        for (const { objectName } of data) expect(paths).toContain(objectName);
    }
  });

  test('has grants that are understood', () => {
    const grants = blocks('yaml').filter((text) => text.startsWith('grants:'));
    expect(grants).toHaveLength(1);
    expect(parseSharedIdentityGrants(grants[0]!, 'grants.yaml')).toHaveLength(1);
  });

  test('has RAM policies that can be read', () => {
    expect(blocks('json')).toHaveLength(4);
    for (const text of blocks('json')) expect(JSON.parse(text)).toMatchObject({ Version: '1' });
  });

  test('names every variable that is read', () => {
    const read = new Set<string>();
    const env = new Proxy<Record<string, string | undefined>>(
      {},
      {
        get(_, name) {
          read.add(String(name));
          // Enough of a configuration that nothing is left out.
          return { ALICLOUD_ROLE_ARN: 'acs:ram::1:role/r', ACCESS_KEY_ID: 'i', SECRET_ACCESS_KEY: 's' }[
            String(name)
          ];
        },
      },
    );
    readAlibabaConfig(env);
    const missing = [...read].filter(
      (name) => !page.includes(`\`${name}\``) && name !== 'KEYFERRY_ALIBABACLOUD_BURST',
    );
    expect(missing).toEqual([]);
    expect(page).toContain('`KEYFERRY_ALIBABACLOUD_RATE`, `_BURST`');
  });
});
