import { expect, test } from '@jest/globals';
import { readPage } from '../../../test/docs-page.ts';

type Rules = {
  readonly groups?: readonly { readonly rules: readonly { readonly expr: string }[] }[];
};

test('each alert of docs/docker/monitoring.md uses metrics that the operations page has', () => {
  const documents = readPage('docker/monitoring.md').documents as readonly Rules[];
  const rules = documents.flatMap(({ groups = [] }) => groups.flatMap((group) => group.rules));
  const metrics = rules.flatMap(({ expr }) => expr.match(/keyferry_[a-z_]+/g) ?? []);
  expect(new Set(metrics).size).toBeGreaterThan(2);
  const { text } = readPage('operations.md');
  for (const metric of metrics) expect(text).toContain(`| \`${metric}`);
});
