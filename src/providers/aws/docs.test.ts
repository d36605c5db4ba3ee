import { describe, expect, test } from '@jest/globals';
import { syncedFileNames, readPage, variablesRead } from '../../../test/docs-page.ts';
import { parseSharedIdentityGrants } from '../shared/identity/grants-file.ts';
import { planAws as planInSteps } from './class/parameters.ts';
import { readAwsConfig } from './config.ts';
import { roleArnPattern } from './arn.ts';
import { irsaAudience, podIdentityAudience, roleAnnotation } from './principals.ts';
import { runSteps } from '../../core/steps.ts';

const planAws = (...args: Parameters<typeof planInSteps>) => runSteps(planInSteps(...args));

const { text: page, blocks, documents, ofKind, classes } = readPage('providers/aws.md');

describe('docs/providers/aws.md', () => {
  test('has classes without problems, also for lint, which has no node', () => {
    expect(classes()).toHaveLength(4);
    for (const shown of classes()) {
      const { plan, problems, skipped } = planAws(shown.spec.parameters);
      expect({ problems, skipped }).toEqual({ problems: [], skipped: undefined });
      const paths = plan!.files.map(({ path }) => path);
      for (const name of syncedFileNames(shown)) expect(paths).toContain(name);
    }
  });

  test('lists all parameters and keys, and no others', () => {
    const listed = (heading: string): string[] => {
      const table = page.slice(page.indexOf(`| ${heading} |`)).split('\n\n')[0]!;
      return [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name = '']) => name);
    };
    const isKnown = (parameters: Record<string, string>): boolean =>
      !planAws(parameters).problems.some(({ message }) => message.includes('is unknown to'));
    expect(listed('parameter')).toHaveLength(6);
    expect(listed('key of an object')).toHaveLength(10);
    for (const name of listed('parameter')) expect(isKnown({ [name]: '' })).toBe(true);
    for (const name of listed('key of an object'))
      expect(isKnown({ objects: `- {${name}: ~}` })).toBe(true);
  });

  test('has grants that can be parsed', () => {
    const grants = blocks('yaml').filter((text) => text.startsWith('grants:'));
    expect(grants).toHaveLength(1);
    const [grant, ...others] = parseSharedIdentityGrants(grants[0]!, 'grants.yaml');
    expect(others).toEqual([]);
    const grantsName = (name: string): boolean => grant!.names.some((matches) => matches(name));
    expect(grantsName('secretsmanager/prod/db')).toBe(true);
    expect(grantsName('ssm//app/banner')).toBe(true);
  });

  test('has policies that can be parsed, and a valid role annotation', () => {
    expect(blocks('json')).toHaveLength(4);
    for (const text of blocks('json'))
      expect(JSON.parse(text)).toMatchObject({ Version: '2012-10-17' });
    const [account] = ofKind<{ metadata: { annotations: Record<string, string> } }>(
      'ServiceAccount',
    );
    expect(account!.metadata.annotations[roleAnnotation]).toMatch(roleArnPattern);
  });

  test('has the audiences that the provider uses', () => {
    const [requests] = documents.flatMap(({ tokenRequests }) =>
      tokenRequests === undefined ? [] : [tokenRequests],
    );
    expect(requests).toEqual([{ audience: irsaAudience }, { audience: podIdentityAudience }]);
  });

  test('names every variable that the provider reads', () => {
    const read = variablesRead(readAwsConfig);
    expect(read.length).toBeGreaterThan(15);
    expect(read.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });
});
