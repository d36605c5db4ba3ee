import { describe, expect, test } from '@jest/globals';
import { guideSteps, printsAsGuide } from './guide.ts';

describe('the steps of a guide', () => {
  test('are its commands, with their outputs, and its files', () => {
    const page = `# Guide
\`\`\`sh
first   # why
# a comment
vault policy write app - <<'POLICY'
path "a" {}
POLICY
long \\
  line
\`\`\`

\`app.yaml\`, the application:

\`\`\`yaml
services: {}
\`\`\`

\`\`\`yaml
only: an example
\`\`\`

\`\`\`console
$ shows
one
two
$ shows nothing
\`\`\`
`;
    expect(guideSteps(page)).toEqual([
      { kind: 'command', command: 'first   # why' },
      { kind: 'command', command: `vault policy write app - <<'POLICY'\npath "a" {}\nPOLICY` },
      { kind: 'command', command: 'long \\\n  line' },
      { kind: 'file', name: 'app.yaml', text: 'services: {}\n' },
      { kind: 'command', command: 'shows', output: 'one\ntwo' },
      { kind: 'command', command: 'shows nothing', output: '' },
    ]);
  });

  test('have no command without an end', () => {
    expect(() => guideSteps('```sh\ncat <<EOF\n```')).toThrow('this command has no end: cat <<EOF');
  });
});

test.each([
  ['huawei ... OK\n', 'huawei ... OK', true],
  ['huawei ... it is away: no OK\n', 'huawei ... OK', false],
  ['v1 2026-01-31 12:00:00Z\n', 'v1 2025-02-01 00:00:00Z', true],
  ['v2 2026-01-31 12:00:00Z\n', 'v1 2026-01-31 12:00:00Z', false],
  ['docker dso version 0.2.0\n', 'docker dso version 0.1.0', true],
  ['user=v-root-8xk\n', 'user=…', true],
  ['one\nmore\nand more\nlast\n', 'one\n…\nlast', true],
  ['one\nlast\n', 'one\n…\nlast', true],
  ['one\nlast\nmore\n', 'one\n…\nlast', false],
  ['', '', true],
  ['a secret\n', '', false],
])('the output %j is as the guide says %j: %s', (printed, expected, isSame) => {
  expect(printsAsGuide(printed, expected)).toBe(isSame);
});
