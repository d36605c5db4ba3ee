import { describe, expect, test } from '@jest/globals';
import { syncedFileNames, readPage, variablesRead } from '../../../test/docs-page.ts';
import { parseSharedIdentityGrants } from '../shared/identity/grants-file.ts';
import { readAlibabaConfig } from './config.ts';
import { planAlibaba as planInSteps } from './class/parameters.ts';
import { runSteps } from '../../core/steps.ts';

const planAlibaba = (...args: Parameters<typeof planInSteps>) => runSteps(planInSteps(...args));

const { text: page, blocks, classes } = readPage('providers/alibabacloud.md');

describe('docs/providers/alibabacloud.md', () => {
  test('has classes without problems', () => {
    expect(classes()).toHaveLength(3);
    for (const shown of classes()) {
      const { plan, problems, skipped } = planAlibaba(shown.spec.parameters);
      expect({ problems, skipped }).toEqual({ problems: [], skipped: undefined });
      const paths = plan!.files.map(({ path }) => path);
      for (const name of syncedFileNames(shown)) expect(paths).toContain(name);
    }
  });

  test('has valid grants', () => {
    const grants = blocks('yaml').filter((text) => text.startsWith('grants:'));
    expect(grants).toHaveLength(1);
    expect(parseSharedIdentityGrants(grants[0]!, 'grants.yaml')).toHaveLength(1);
  });

  test('has RAM policies in JSON', () => {
    expect(blocks('json')).toHaveLength(4);
    for (const text of blocks('json')) expect(JSON.parse(text)).toMatchObject({ Version: '1' });
  });

  test('names every variable that the provider reads', () => {
    // With these values the provider reads all of its variables.
    const values = {
      ALICLOUD_ROLE_ARN: 'acs:ram::1:role/r',
      ACCESS_KEY_ID: 'i',
      SECRET_ACCESS_KEY: 's',
    };
    const missing = variablesRead(readAlibabaConfig, values).filter(
      (name) => !page.includes(`\`${name}\``) && name !== 'KEYFERRY_ALIBABACLOUD_BURST',
    );
    expect(missing).toEqual([]);
    expect(page).toContain('`KEYFERRY_ALIBABACLOUD_RATE`, `_BURST`');
  });
});
