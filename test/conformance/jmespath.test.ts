import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { checkClass } from '../../src/cli/lint/check-class.ts';
import { readClassFile } from '../../src/cli/lint/class-file.ts';
import { SecretError } from '../../src/core/errors.ts';
import type { Redacted } from '../../src/core/redacted.ts';
import { type TestPod, createMountPipeline } from '../fakes/mount-pipeline.ts';
import { type ConformanceEnvironment, environments } from './environments.ts';
import { type JmesPathCase, grammarCases } from './jmespath-cases.ts';

/** For the others, a path is first a literal key. */
const expressionProviders = ['aws', 'alibabacloud', 'cce', 'local'];
const isKeyFirst = (provider: string): boolean => provider === 'cce' || provider === 'local';

/**
 * A directory with the JSON files of https://github.com/jmespath/jmespath.test. The library gives
 * another result for 5 of 892 cases.
 */
const officialSuite = process.env.JMESPATH_TESTS;
const allowedDifferences = 5;

describe.each(expressionProviders)('a JMESPath in a class of %s', (name) => {
  let environment: ConformanceEnvironment;
  beforeAll(async () => {
    environment = await environments[name]!();
  });
  afterAll(() => environment.stop());

  for (const { given, cases } of grammarCases)
    test.each(cases)('$expression', async (each) => {
      await environment.put('first', JSON.stringify(given));
      expect(await outcomeOf(each.expression)).toEqual(expectedOutcome({ given, ...each }));
    });

  test.each([
    ["'user'", 'a key has no single quotes: write user'],
    ["'pass-word'", 'a key has no single quotes: write "pass-word"'],
    ['`1`', 'name a key of the secret'],
    ["[`1`, 'x']", 'name a key of the secret'],
    ["user | 'x'", 'name a key of the secret'],
    ["length('user')", 'name a key of the secret'],
    ['sort_by(`[{"a": 1}]`, &a)', 'name a key of the secret'],
    ['`[1, 2]`[0]', 'name a key of the secret'],
  ])('%s, which does not look at the secret, is an error of lint only', async (text, remedy) => {
    await environment.put('first', '{"user": "app"}');
    expect(lint(text)).toEqual([
      `path of item 1, jmesPath item 1: ${text} does not look at the secret, so the file has the expression's own words; ${remedy}`,
    ]);
    await expect(mount(text)).resolves.toEqual(expect.any(String));
  });

  const official = officialSuite === undefined ? test.skip : test;
  official(
    'gives the results of the official suite',
    async () => {
      const differences: string[] = [];
      let count = 0;
      for (const { given, cases } of readOfficialSuite(officialSuite ?? '')) {
        await environment.put('first', JSON.stringify(given));
        for (const each of cases) {
          count += 1;
          const actual = await outcomeOf(each.expression);
          const expected = expectedOutcome({ given, ...each });
          try {
            expect(actual).toEqual(expected);
          } catch {
            differences.push(`${each.expression} ${JSON.stringify({ given, actual, expected })}`);
          }
        }
      }
      expect(count).toBeGreaterThan(800);
      expect(differences.length > allowedDifferences ? differences : []).toEqual([]);
    },
    600_000,
  );

  /** The content of the file, as JSON where it is JSON; or the code of the error. */
  async function outcomeOf(expression: string): Promise<unknown> {
    const problems = lint(expression).filter((problem) => !problem.includes('does not look at'));
    const outcome = await mount(expression).catch((error: unknown) => {
      if (error instanceof SecretError) return { error: error.code };
      throw error;
    });
    // A class that lint rejects must not mount.
    if (problems.length > 0 && typeof outcome === 'string') return problems;
    return typeof outcome === 'string' ? { file: outcome } : outcome;
  }

  function parametersWith(expression: string): Record<string, string> {
    const entry = `jmesPath: [{path: ${yamlText(expression)}, objectAlias: extracted}]`;
    return { ...environment.parameters(['first'], entry) };
  }

  function lint(expression: string): string[] {
    const spc = {
      apiVersion: 'secrets-store.csi.x-k8s.io/v1',
      kind: 'SecretProviderClass',
      metadata: { name: 'app' },
      spec: { provider: name, parameters: parametersWith(expression) },
    };
    const { classes } = readClassFile('class.json', JSON.stringify(spc));
    const { diagnostics } = checkClass(classes[0]!, [environment.provider]);
    return diagnostics.map(({ message, remedy }) =>
      remedy === undefined ? message : `${message.replace(/ \(line.*\)$/, '')}; ${remedy}`,
    );
  }

  async function mount(expression: string): Promise<string> {
    const { provider, workload } = environment;
    const reveal = (map: ReadonlyMap<string, Redacted>): Record<string, string> =>
      Object.fromEntries([...map].map(([key, value]) => [key, value.reveal()]));
    const tokens = new Map([...workload.tokens].map(([key, { token }]) => [key, token]));
    const pod: TestPod = { tokens: reveal(tokens), secret: reveal(workload.secrets) };
    const log = pino({ level: 'silent' });
    const { volume } = createMountPipeline({ provider, now: Date.now, log });
    const { files } = await volume(parametersWith(expression), pod);
    const extracted = files.find(({ path }) => path === 'extracted');
    return Buffer.from(extracted!.contents).toString();
  }

  function expectedOutcome({ given, expression, result, error }: JmesPathCase): unknown {
    if (isKeyFirst(name) && isObject(given) && Object.hasOwn(given, expression))
      return fileOf(given[expression]);
    if (error === undefined) return fileOf(result);
    return { error: expect.stringMatching(/^(INVALID_CLASS|KEY_NOT_FOUND)$/) };
  }
});

function fileOf(result: unknown): unknown {
  if (result === null || result === undefined) return { error: 'KEY_NOT_FOUND' };
  return { file: typeof result === 'string' ? result : JSON.stringify(result) };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A double-quoted YAML scalar. */
function yamlText(text: string): string {
  return JSON.stringify(text);
}

type OfficialGroup = {
  readonly given: unknown;
  readonly cases: readonly (Omit<JmesPathCase, 'given'> & { readonly bench?: string })[];
};

function readOfficialSuite(directory: string): readonly OfficialGroup[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.json') && file !== 'benchmarks.json')
    .flatMap((file) => JSON.parse(readFileSync(join(directory, file), 'utf8')) as OfficialGroup[])
    .map(({ given, cases }) => ({
      given,
      cases: cases.filter(({ bench }) => bench === undefined),
    }));
}
