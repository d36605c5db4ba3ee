import { expect, test } from '@jest/globals';
import { describeOldNode } from './node-version.ts';

test.each(['18.9.1', '20.18.9', '9.20.0'])('Node %s is too old', (version) => {
  expect(describeOldNode(version, '20.19')).toBe(
    `Node ${version} is too old; install Node 20.19 or newer`,
  );
});

test.each(['20.19.0', '20.20.2', '24.0.0', '100.1.0'])('Node %s will do', (version) => {
  expect(describeOldNode(version, '20.19')).toBeUndefined();
});
