import { expect, test } from '@jest/globals';
import { describeOldNode, warningForServe } from './node-version.ts';

test.each(['18.9.1', '20.18.9', '9.20.0'])('Node %s is too old', (version) => {
  expect(describeOldNode(version, '20.19')).toBe(
    `Node ${version} is too old; install Node 20.19 or newer`,
  );
});

test.each(['20.19.0', '20.20.2', '24.0.0', '100.1.0'])('Node %s will do', (version) => {
  expect(describeOldNode(version, '20.19')).toBeUndefined();
});

test.each(['20.19.0', '20.20.2', '22.23.0'])('Node %s gives a warning of serve', (version) => {
  expect(warningForServe(version)).toBe(
    `keyferry serve needs Node 24, and this is Node ${version}: a hostile client on a provider's socket can end the process; run it with Node 24.22.3 or newer`,
  );
});

test.each(['24.0.0', '24.22.3', '26.1.0'])('Node %s gives no warning of serve', (version) => {
  expect(warningForServe(version)).toBeUndefined();
});
