import { describe, expect, test } from '@jest/globals';
import { readPage, type DocumentedClass } from '../../../test/docs-page.ts';
import { parseSharedIdentityGrants } from '../shared/identity/grants-file.ts';
import { parseDocument } from './store/document.ts';
import { maxVersions } from './store/history.ts';
import { planLocal as planInSteps } from './class.ts';
import { runSteps } from '../../core/steps.ts';

const planLocal = (...args: Parameters<typeof planInSteps>) => runSteps(planInSteps(...args));

const { text: page, blocks, classes } = readPage('providers/local.md');

describe('the page of provider local', () => {
  test('has a class that compiles without problems', () => {
    const [{ spec }] = classes() as [DocumentedClass];
    expect(spec.provider).toBe('local');
    const { plan, problems } = planLocal(spec.parameters);
    expect(problems).toEqual([]);
    expect(plan?.files.map(({ path }) => path)).toEqual([
      'eu/prod/db',
      'app.json',
      'tls.crt',
      'tls.key',
    ]);
  });

  test('has grants that parse', () => {
    const quickstart = /<<'EOF'\n(.*?)^EOF$/ms.exec(page)?.[1];
    for (const text of [quickstart!, blocks('yaml')[1]!])
      expect(parseSharedIdentityGrants(text, 'local.md').length).toBeGreaterThan(0);
  });

  test('shows the format of the plaintext', () => {
    const document = parseDocument(Buffer.from(blocks('json')[0]!));
    expect(document.get('eu/prod/db')?.versions.map(({ version }) => version)).toEqual([
      'v2',
      'v3',
    ]);
  });

  test('names the number of kept versions', () => {
    expect(page).toContain(`its ${maxVersions} newest versions`);
  });
});
