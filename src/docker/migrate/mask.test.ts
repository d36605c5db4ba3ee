import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { maskEnvFile, maskYaml } from './mask.ts';

const secret = 'S3CR3T';

describe('maskYaml', () => {
  test('shows keys, references, names of variables and anchors, and nothing else', () => {
    const text = `# ${secret}
services:
  app: &app   # ${secret}
    image: "${secret}"
    environment:
      A: ${secret}
      B: |
        ${secret}
          ${secret}
      C: "${secret}
        ${secret}"
      D: !!str ${secret}
      E: \${NAME}
      F: \${NAME:-${secret}}
      G: dso://shop/db#password
      H: $s3cret
      <<: *app
    secrets: [name]
  list:
    x-a: {secrets: [${secret}]}
    environment: [A=${secret}, "B=${secret}", C, D=$NAME, E=dsofile://x]
    command: ['--a=${secret}', c2VjcmV0=${secret}]
`;
    expect(maskYaml(text).join('\n')).toBe(`# [hidden]
services:
  app: &app   # [hidden]
    image: [hidden]
    environment:
      A: [hidden]
      B: |
        [hidden]
          [hidden]
      C: [hidden]
        [hidden]
      D: !!str [hidden]
      E: \${NAME}
      F: [hidden]
      G: dso://shop/db#password
      H: [hidden]
      <<: *app
    secrets: [name]
  list:
    x-a: {secrets: [[hidden]]}
    environment: [A=[hidden], "B=[hidden], C, D=$NAME, E=dsofile://x]
    command: [[hidden], [hidden]]
`);
  });

  test('hides a value that begins as a tag or an anchor does', () => {
    const text = `ports: !reset []\na: !${secret}\nb: &${secret}\nc: &ok x\nd: [*ok, !!str x, !<${secret}> x]\n`;
    expect(maskYaml(text).join('\n')).toBe(
      'ports: !reset []\na: [hidden]\nb: [hidden]\nc: &ok [hidden]\nd: [*ok, !!str [hidden], [hidden] [hidden]]\n',
    );
  });

  test('keeps the number of lines, and shows no value of any document', () => {
    const value = fc.string({ unit: 'grapheme' }).map((text) => `${secret}${text}${secret}`);
    const tree = fc.letrec((tie) => ({
      node: fc.oneof({ maxDepth: 4 }, value, tie('list'), tie('map')),
      list: fc.array(tie('node'), { maxLength: 3 }),
      map: fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), tie('node'), { maxKeys: 3 }),
    })).node;
    const style = fc.constantFrom(
      'PLAIN',
      'QUOTE_DOUBLE',
      'QUOTE_SINGLE',
      'BLOCK_LITERAL' as const,
    );
    fc.assert(
      fc.property(tree, style, fc.boolean(), (node, defaultStringType, flow) => {
        const text = stringify({ services: node }, {
          defaultStringType,
          collectionStyle: flow ? 'flow' : 'any',
          lineWidth: 40,
        } as object);
        const lines = maskYaml(text);
        expect(lines).toHaveLength(text.split('\n').length);
        expect(lines.join('\n')).not.toContain(secret);
      }),
    );
  });
});

test('maskEnvFile shows the names of variables and references, and nothing else', () => {
  const text = `# DB_PASSWORD=${secret}\r
DB_PASSWORD=${secret} # ${secret}\r
export A="${secret}
${secret}=${secret}
${secret}"

B: '${secret}'
C=dso://shop/c
D=
${secret}
`;
  expect(maskEnvFile(text).join('\n')).toBe(`[hidden]\r
DB_PASSWORD=[hidden] [hidden]\r
export A=[hidden]
[hidden]
[hidden]

B: [hidden]
C=dso://shop/c
D=
[hidden]
`);
});
