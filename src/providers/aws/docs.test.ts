import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import { parseSharedIdentityGrants } from '../shared-identity-grants.ts';
import { roleArnShape } from './arn.ts';
import { readAwsConfig } from './config.ts';
import { irsaAudience, roleAnnotation } from './irsa.ts';
import { planAws } from './parameters.ts';
import { podIdentityAudience } from './pod-identity.ts';

const page = readFileSync(join(import.meta.dirname, '../../../docs/providers/aws.md'), 'utf8');
const blocks = (language: string): string[] =>
  [...page.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))].map(([, text = '']) => text);
const documents = blocks('yaml').flatMap((text) =>
  parseAllDocuments(text).map((document) => document.toJS() as Record<string, unknown>),
);
const ofKind = <T>(wanted: string): T[] => documents.filter(({ kind }) => kind === wanted) as T[];

describe('docs/providers/aws.md', () => {
  test('has classes without a fault, also for lint, which knows no node', () => {
    const classes = ofKind<{
      spec: { parameters: Record<string, string>; secretObjects?: { data: { objectName: string }[] }[] };
    }>('SecretProviderClass');
    expect(classes).toHaveLength(4);
    for (const { spec } of classes) {
      const { plan, problems, skipped } = planAws(spec.parameters);
      expect({ problems, skipped }).toEqual({ problems: [], skipped: undefined });
      const paths = plan!.files.map(({ path }) => path);
      for (const { data } of spec.secretObjects ?? [])
        for (const { objectName } of data) expect(paths).toContain(objectName);
    }
  });

  test('lists every parameter and key that is known, and no other', () => {
    const listed = (heading: string): string[] => {
      const table = page.slice(page.indexOf(`| ${heading} |`)).split('\n\n')[0]!;
      return [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name = '']) => name);
    };
    const isKnown = (parameters: Record<string, string>): boolean =>
      !planAws(parameters).problems.some(({ message }) => message.includes('means nothing'));
    expect(listed('parameter')).toHaveLength(6);
    expect(listed('key of an object')).toHaveLength(10);
    for (const name of listed('parameter')) expect(isKnown({ [name]: '' })).toBe(true);
    for (const name of listed('key of an object')) expect(isKnown({ objects: `- {${name}: ~}` })).toBe(true);
  });

  test('has grants that are understood', () => {
    const grants = blocks('yaml').filter((text) => text.startsWith('grants:'));
    expect(grants).toHaveLength(1);
    const [grant, ...others] = parseSharedIdentityGrants(grants[0]!, 'grants.yaml');
    expect(others).toEqual([]);
    const grantsName = (name: string): boolean => grant!.names.some((matches) => matches(name));
    expect(grantsName('secretsmanager/prod/db')).toBe(true);
    expect(grantsName('ssm//app/banner')).toBe(true);
  });

  test('has policies that can be read, and a role that can be annotated', () => {
    expect(blocks('json')).toHaveLength(4);
    for (const text of blocks('json')) expect(JSON.parse(text)).toMatchObject({ Version: '2012-10-17' });
    const [account] = ofKind<{ metadata: { annotations: Record<string, string> } }>('ServiceAccount');
    expect(account!.metadata.annotations[roleAnnotation]).toMatch(roleArnShape);
  });

  test('has the audiences that are asked for', () => {
    const [requests] = documents.flatMap(({ tokenRequests }) =>
      tokenRequests === undefined ? [] : [tokenRequests],
    );
    expect(requests).toEqual([{ audience: irsaAudience }, { audience: podIdentityAudience }]);
  });

  test('names every variable that is read', () => {
    const read = new Set<string>();
    const env = new Proxy<Record<string, string | undefined>>(
      {},
      { get: (_, name) => void read.add(String(name)) },
    );
    readAwsConfig(env);
    expect(read.size).toBeGreaterThan(15);
    expect([...read].filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });

  test('links to headings that are there', () => {
    const anchors = [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    );
    for (const [, anchor] of page.matchAll(/\]\(#([^)]*)\)/g)) expect(anchors).toContain(anchor);
  });
});
