import { describe, expect, test } from '@jest/globals';
import { readPage, syncedFileNames, variablesRead } from '../../../test/docs-page.ts';
import { planCce as planInSteps } from './class.ts';
import { readCceConfig } from './config.ts';
import { runSteps } from '../../core/steps.ts';

const planCce = (...args: Parameters<typeof planInSteps>) => runSteps(planInSteps(...args));

const { text: page, documents, classes } = readPage('providers/cce.md');

describe('docs/providers/cce.md', () => {
  test('has a class without problems', () => {
    expect(classes()).toHaveLength(1);
    for (const shown of classes()) {
      const { plan, problems } = planCce(shown.spec.parameters);
      expect(problems).toEqual([]);
      const paths = plan!.files.map(({ path }) => path);
      for (const name of syncedFileNames(shown)) expect(paths).toContain(name);
    }
  });

  test('has the audience that the provider uses', () => {
    const urns = { agencyUrn: 'iam::1:agency:a', providerUrn: 'iam::1:oidcProvider:p' };
    const objects = '- {objectName: s, objectType: csms, objectVersion: latest}';
    const { plan } = planCce({ objects, usePodOIDC: 'true', ...urns });
    const requests = documents.flatMap(({ tokenRequests }) => tokenRequests ?? []);
    expect(requests).toHaveLength(1);
    expect(plan?.login).toMatchObject(requests[0]!);
  });

  test('names every variable that the provider reads', () => {
    // With a region, the provider reads the variables of its endpoints, too.
    const read = variablesRead(readCceConfig, { HUAWEICLOUD_SDK_REGION: 'eu-west-101' });
    expect(read.length).toBeGreaterThan(10);
    expect(read.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });
});
