import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Selector } from '../../../core/plan.ts';
import { planAlibaba as planInSteps } from './parameters.ts';
import type { AlibabaNodeFacts } from '../types.ts';
import { runSteps } from '../../../core/steps.ts';

const planAlibaba = (...args: Parameters<typeof planInSteps>) => runSteps(planInSteps(...args));

const facts: AlibabaNodeFacts = { region: 'cn-hangzhou', allowedEndpoints: [] };
type OtherParameters = Readonly<Record<string, string>>;

const plan = (objects: string, others: OtherParameters = {}): ReturnType<typeof planAlibaba> =>
  planAlibaba({ objects, ...others }, facts);

/** `line:column severity: message`. */
const problemsOf = (
  objects: string,
  others: OtherParameters = {},
  known: AlibabaNodeFacts | undefined = facts,
): string[] =>
  planAlibaba({ objects, ...others }, known).problems.map(
    ({ severity, line = 0, column = 0, message }) => `${line}:${column} ${severity}: ${message}`,
  );

const paths = (objects: string, others: OtherParameters = {}): string[] | undefined =>
  plan(objects, others).plan?.files.map(({ path }) => path);

const kms = { service: 'kms', region: 'cn-hangzhou', stage: 'ACSCurrent' };

describe("a class in the form of the vendor's provider", () => {
  test('compiles to refs and files', () => {
    const { plan: compiled, problems } = planAlibaba({
      region: 'cn-beijing',
      usePodServiceAccountToken: 'true',
      pathTranslation: '_',
      objects: `
        - objectName: "eu/prod/db"
          objectType: "kms"
          objectAlias: "db.json"
          objectVersion: "v2"
          kmsEndpoint: "kst-xxx.cryptoservice.kms.aliyuncs.com"
          crossAccountRoleArn: "acs:ram::1234567890:role/reader"
          jmesPath:
            - path: username
              objectAlias: db-user
            - path: '"pass-word"'
              objectAlias: db-pass
        - objectName: banner
          objectType: oos
          objectVersion: "3"
      `,
    });
    expect(problems).toEqual([]);
    expect(compiled?.login).toEqual({ podToken: true });
    expect(compiled?.refs).toEqual([
      {
        service: 'kms',
        name: 'eu/prod/db',
        region: 'cn-beijing',
        version: 'v2',
        endpoint: 'kst-xxx.cryptoservice.kms.aliyuncs.com',
        role: 'acs:ram::1234567890:role/reader',
      },
      { service: 'oos', name: 'banner', region: 'cn-beijing', version: '3' },
    ]);
    const [db, banner] = compiled?.refs ?? [];
    const file = (path: string, ref: unknown, selector: Selector): unknown => ({
      path,
      sources: { value: { ref, selector } },
      encoding: 'utf-8',
    });
    expect(compiled?.files).toEqual([
      file('db.json', db, { kind: 'whole' }),
      file('db-user', db, { kind: 'jmespath', expression: 'username' }),
      file('db-pass', db, { kind: 'jmespath', expression: '"pass-word"' }),
      file('banner', banner, { kind: 'whole' }),
    ]);
  });

  test('the letter case of keys and parameters does not matter; kms is the default type', () => {
    const text = '- {OBJECTNAME: a, objecttype: KMS, ObjectAlias: b, JmesPath: [{PATH: k}]}';
    expect(planAlibaba({ Objects: text, REGION: 'cn-hangzhou' })).toMatchObject({
      problems: [],
      plan: { refs: [{ ...kms, name: 'a' }], files: [{ path: 'b' }, { path: 'k' }] },
    });
    expect(plan('- objectName: a').plan?.refs).toEqual([{ ...kms, name: 'a' }]);
  });

  test('a parameter in two letter cases is an error', () => {
    expect(problemsOf('- objectName: a', { region: 'cn-beijing', Region: 'cn-hangzhou' })).toEqual([
      '0:0 error: the parameter Region is region again',
    ]);
  });

  test('with jmesPath the whole secret is a file, too, and its alias is optional', () => {
    expect(paths('- {objectName: s, jmesPath: [{path: a}, {path: b.c, objectAlias: x}]}')).toEqual([
      's',
      'a',
      'x',
    ]);
  });

  test("joins the two items of the vendor's guide that mean one", () => {
    const guide = '- objectName: "test"\n- objectType: "oos"\n- objectName: b\n';
    expect(problemsOf(guide)).toEqual([
      '2:3 hint: item 2 has an objectType alone; it is used for item 1',
    ]);
    expect(plan(guide).plan?.refs).toEqual([
      { service: 'oos', name: 'test', region: 'cn-hangzhou' },
      { ...kms, name: 'b' },
    ]);
  });

  test.each([
    ['- objectType: kms\n- objectName: b', '1:3 error: item 1 has no objectName'],
    [
      '- {objectName: b, objectType: kms}\n- objectType: oos',
      '2:3 error: item 2 has no objectName',
    ],
    [
      '- objectName: b\n- objectType: kms\n- objectType: kms',
      '3:3 error: item 3 has no objectName',
    ],
    ['- objectName: b\n- {objectType: kms, objectAlias: x}', '2:3 error: item 2 has no objectName'],
    ['- objectName: b\n-\n- objectType: kms', '3:3 error: item 3 has no objectName'],
    ['- objectName: ""', '1:3 error: item 1 has no objectName'],
  ])('%j: another item without a name is an error with its position', (yaml, problem) => {
    expect(problemsOf(yaml)).toContainEqual(problem);
    expect(plan(yaml).plan).toBeUndefined();
  });

  test('a null item is an error', () => {
    expect(problemsOf('- objectName: a\n-\n- null')).toEqual([
      '2:2 error: item 2 is empty',
      '3:3 error: item 3 is empty',
    ]);
  });

  test('objects with one name and different files share one ref', () => {
    const { plan: compiled } = plan(
      '- objectName: a\n- {objectName: a, objectAlias: b}\n- {objectName: a, objectAlias: c, objectVersionLabel: ACSCurrent}',
    );
    expect(compiled?.refs).toEqual([{ ...kms, name: 'a' }]);
    expect(compiled?.files.map(({ sources }) => sources.value?.ref)).toEqual([
      compiled?.refs[0],
      compiled?.refs[0],
      compiled?.refs[0],
    ]);
    // The very same ref, or render would not find what was read for it.
    for (const { sources } of compiled?.files ?? [])
      expect(compiled?.refs).toContain(sources.value?.ref);
  });

  test("reads Keyferry's own keys optional, encoding and filePermission", () => {
    const yaml =
      '- {objectName: a, optional: true, encoding: base64, filePermission: 0400, jmesPath: [{path: k, encoding: hex}]}';
    expect(plan(yaml).plan?.files).toMatchObject([
      { path: 'a', optional: true, encoding: 'base64', mode: 0o400 },
      { path: 'k', optional: true, encoding: 'hex', mode: 0o400 },
    ]);
  });
});

describe('pathTranslation', () => {
  const yaml =
    '- {objectName: /eu/prod/db, jmesPath: [{path: k, objectAlias: x/y}, {path: "\\"a/b\\""}]}';

  test.each([
    [undefined, ['_eu_prod_db', 'x_y', '"a_b"']],
    ['', ['_eu_prod_db', 'x_y', '"a_b"']],
    ['-', ['-eu-prod-db', 'x-y', '"a-b"']],
    ['$', ['$eu$prod$db', 'x$y', '"a$b"']],
    ['é', ['éeuéprodédb', 'xéy', '"aéb"']],
    ['False', ['eu/prod/db', 'x/y', '"a/b"']],
    ['FALSE', ['eu/prod/db', 'x/y', '"a/b"']],
  ])('%s', (pathTranslation, expected) => {
    expect(paths(yaml, pathTranslation === undefined ? {} : { pathTranslation })).toEqual(expected);
  });

  test.each(['/', '__', 'true', 'off'])('%s is an error', (pathTranslation) => {
    expect(problemsOf('- objectName: a', { pathTranslation })).toEqual([
      `0:0 error: pathTranslation is neither one character, other than "/", nor "False": ${pathTranslation}`,
    ]);
  });

  test('names with slashes are valid, translated or not; an element ".." is not', () => {
    expect(problemsOf('- objectName: eu/prod/db', { pathTranslation: 'False' })).toEqual([]);
    expect(problemsOf('- objectName: eu/../db', { pathTranslation: 'False' })).toEqual([
      '1:15 error: the file name eu/../db has a ".." element',
    ]);
    expect(paths('- objectName: eu/../db')).toEqual(['eu_.._db']);
  });
});

describe('ARNs', () => {
  const arn = 'acs:kms:cn-shanghai:1234567890:secret/eu/prod/db';

  test('are sent unchanged, to their own region', () => {
    expect(
      plan(`- {objectName: "${arn}", objectAlias: db}`, { region: 'cn-beijing' }).plan?.refs,
    ).toEqual([{ ...kms, name: arn, region: 'cn-shanghai' }]);
    expect(paths(`- {objectName: "${arn}"}`)).toEqual([arn.replaceAll('/', '_')]);
  });

  test('can have ten regions at most, because each one is a host to look up', () => {
    const inRegions = (count: number): string =>
      Array.from(
        { length: count },
        (_, n) => `- {objectName: "acs:kms:cn-${n}:1:secret/a${n}"}`,
      ).join('\n');
    expect(problemsOf(inRegions(10))).toEqual([]);
    expect(problemsOf(inRegions(11))).toEqual([
      expect.stringContaining('error: the objects are of 11 regions, more than 10'),
    ]);
  });

  test('need no region from the class or the node', () => {
    const result = planAlibaba({ objects: `- {objectName: "${arn}"}` });
    expect(result.skipped).toBeUndefined();
    expect(result.plan?.refs[0]?.region).toBe('cn-shanghai');
  });

  test.each([
    'acs:oos:cn-shanghai:1:secret/a',
    'acs:kms:CN:1:secret/a',
    'acs:kms:cn-shanghai.evil.example/:1:secret/a',
    'acs:kms:cn-shanghai:x:secret/a',
    'acs:kms:cn-shanghai:1:key/a',
    'acs:kms:cn-shanghai:1',
    'acs:',
  ])('%s is not an ARN of a KMS secret', (name) => {
    expect(problemsOf(`- {objectName: "${name}", objectAlias: f}`)).toEqual([
      expect.stringMatching(/^1:16 error: objectName of item 1 is not an ARN of a KMS secret/),
    ]);
  });

  test('are not names of OOS parameters', () => {
    expect(problemsOf(`- {objectName: "${arn}", objectType: oos, objectAlias: f}`)).toEqual([
      expect.stringContaining('is the ARN of a KMS secret, but its objectType is oos'),
    ]);
  });
});

describe('versions', () => {
  test('a pinned version has no default label', () => {
    expect(plan('- {objectName: a, objectVersion: v2}').plan?.refs).toEqual([
      { service: 'kms', name: 'a', region: 'cn-hangzhou', version: 'v2' },
    ]);
    expect(plan('- {objectName: a, objectVersionLabel: ACSPrevious}').plan?.refs).toEqual([
      { ...kms, name: 'a', stage: 'ACSPrevious' },
    ]);
  });

  test('a version with a label is a warning, because the next rotation breaks it', () => {
    const both = '- {objectName: a, objectVersion: v2, objectVersionLabel: ACSCurrent}';
    expect(plan(both).plan?.refs).toEqual([{ ...kms, name: 'a', version: 'v2' }]);
    expect(problemsOf(both)).toEqual([
      '1:58 warning: item 1 has both objectVersion and objectVersionLabel: once the label moves to another version, KMS refuses them',
    ]);
  });

  test.each(['0', '101', 'v1', '1.0', '-1'])('OOS has no version %s', (version) => {
    expect(problemsOf(`- {objectName: a, objectType: oos, objectVersion: ${version}}`)).toEqual([
      expect.stringContaining(`is not a version of an OOS parameter: ${version}`),
    ]);
  });

  test('a key that OOS does not have is a warning', () => {
    const yaml =
      '- {objectName: a, objectType: oos, objectVersionLabel: x, kmsEndpoint: kst-1.cryptoservice.kms.aliyuncs.com}';
    expect(problemsOf(yaml)).toEqual([
      expect.stringContaining('warning: objectVersionLabel of item 1 has no effect for OOS'),
      expect.stringContaining('warning: kmsEndpoint of item 1 has no effect for OOS'),
    ]);
    expect(plan(yaml).plan?.refs).toEqual([{ service: 'oos', name: 'a', region: 'cn-hangzhou' }]);
  });
});

describe('a kmsEndpoint', () => {
  const yaml = (endpoint: string): string => `- {objectName: a, kmsEndpoint: "${endpoint}"}`;

  test.each([
    'kst-hzz1.cryptoservice.kms.aliyuncs.com',
    'kms-vpc.cn-hangzhou.aliyuncs.com',
    'kms.eu-central-1.aliyuncs.com',
  ])('%s is an endpoint of Alibaba Cloud', (endpoint) => {
    expect(plan(yaml(endpoint)).plan?.refs[0]?.endpoint).toBe(endpoint);
    expect(plan(yaml(`https://${endpoint}/`)).plan?.refs[0]?.endpoint).toBe(endpoint);
  });

  test('is separate for each object', () => {
    const two = [1, 2].map(
      (n) => `- {objectName: a${n}, kmsEndpoint: kst-${n}.cryptoservice.kms.aliyuncs.com}`,
    );
    expect(plan(two.join('\n')).plan?.refs.map(({ endpoint }) => endpoint)).toEqual([
      'kst-1.cryptoservice.kms.aliyuncs.com',
      'kst-2.cryptoservice.kms.aliyuncs.com',
    ]);
  });

  test.each([
    'evil.example',
    'cryptoservice.kms.aliyuncs.com.evil.example',
    'evilcryptoservice.kms.aliyuncs.com',
    'kms.cn-hangzhou.aliyuncs.com.evil.example',
    'kms.cn-hangzhou.aliyuncs.com:8443',
    'http://kms.cn-hangzhou.aliyuncs.com',
    'kst-1.cryptoservice.kms.aliyuncs.com:8443',
    'http://kst-1.cryptoservice.kms.aliyuncs.com',
    'oss.cn-hangzhou.aliyuncs.com',
    '100.100.100.200',
    '127.0.0.1',
    'localhost',
  ])('%s is not allowed', (endpoint) => {
    const { plan: compiled, problems } = plan(yaml(endpoint));
    expect(compiled).toBeUndefined();
    expect(problems).toMatchObject([{ code: 'NOT_ALLOWED_FROM_CLASS', line: 1, column: 32 }]);
  });

  test.each(['a@kms.cn-hangzhou.aliyuncs.com', 'kms.cn-hangzhou.aliyuncs.com/x', 'a b', '0x7f.1'])(
    '%s is not an endpoint',
    (endpoint) => {
      expect(plan(yaml(endpoint)).problems).toMatchObject([{ code: 'INVALID_CLASS', line: 1 }]);
    },
  );

  test('is allowed if the operator lists it; lint skips the check', () => {
    const listed = { ...facts, allowedEndpoints: ['kms.internal:8443'] };
    const parameters = { objects: yaml('kms.internal:8443') };
    expect(planAlibaba(parameters, listed).plan?.refs[0]?.endpoint).toBe('kms.internal:8443');
    expect(planAlibaba({ ...parameters, region: 'cn-hangzhou' })).toMatchObject({
      problems: [],
      skipped: ["a kmsEndpoint that is not Alibaba Cloud's, which the operator has to allow"],
    });
  });
});

describe('the region', () => {
  test('of the class comes before the region of the node', () => {
    expect(plan('- objectName: a', { region: 'eu-central-1' }).plan?.refs[0]?.region).toBe(
      'eu-central-1',
    );
    expect(plan('- objectName: a', { region: '' }).plan?.refs[0]?.region).toBe('cn-hangzhou');
  });

  test('is not needed by lint, which reports the skipped check once', () => {
    expect(planAlibaba({ objects: '- objectName: a\n- objectName: b' })).toMatchObject({
      problems: [],
      skipped: ['the region, which the class leaves to the node'],
    });
  });

  test.each(['hangzhou', 'cn-hangzhou.evil.example/', 'CN-HANGZHOU', 'cn hangzhou'])(
    '%s is not a region',
    (region) => {
      expect(problemsOf('- objectName: a', { region })).toEqual([
        `0:0 error: region is not a region: ${region}`,
      ]);
    },
  );
});

describe('all errors of a class are reported at once', () => {
  test('a class without objects', () => {
    expect(planAlibaba({}).problems).toMatchObject([
      { message: 'the parameter `objects` is missing' },
    ]);
    expect(problemsOf('')).toEqual([expect.stringContaining('`objects` is empty')]);
  });

  test('several errors', () => {
    expect(
      problemsOf('- {objectName: a, objectType: ssm}\n- {objectAlias: "../x"}\n', {
        region: 'X',
        pathTranslation: 'no',
      }),
    ).toHaveLength(5);
  });

  test.each([
    ['objectType: secret', 'objectType of item 1 is not known: secret'],
    [
      'crossAccountRoleArn: reader',
      'crossAccountRoleArn of item 1 is not an ARN of a RAM role: reader',
    ],
    ['crossAccountRoleArn: "acs:ram::12:user/x"', 'is not an ARN of a RAM role'],
    ['crossAccountRoleArn: "acs:ram::12:role/"', 'is not an ARN of a RAM role'],
    ['jmesPath: [{objectAlias: f}]', 'item 1, jmesPath item 1 has no path'],
    ['jmesPath: [{path: pass-word}]', 'needs quotes: "pass-word"'],
    ['jmesPath: [{path: "a["}]', 'is not JMESPath'],
    ['jmesPath: [null]', 'item 1, jmesPath item 1 is empty'],
    ['jmesPath: key', 'jmesPath of item 1 must be a list'],
    ['encoding: rot13', 'encoding of item 1 is not known'],
    ['filePermission: "0888"', 'not an octal file mode'],
    ['optional: perhaps', 'optional of item 1 must be true or false'],
    ['OBJECTNAME: b', 'OBJECTNAME'],
  ])('%s', (field, message) => {
    const yaml = `- {objectName: a, ${field}}`;
    expect(problemsOf(yaml)).toContainEqual(expect.stringMatching(/error/));
    expect(problemsOf(yaml).join()).toContain(message);
    expect(plan(yaml).plan).toBeUndefined();
  });

  test.each([
    [
      'two equal names',
      '- objectName: a\n- objectName: a',
      '2:15 error: the file name a occurs twice',
    ],
    [
      'names that translation makes equal',
      '- objectName: a/b\n- objectName: a_b',
      '2:15 error: the file name a_b occurs twice',
    ],
    [
      'an extracted file with the name of another',
      '- objectName: a\n- {objectName: b, jmesPath: [{path: a}]}',
      '2:37 error: the file name a occurs twice',
    ],
  ])('%s is an error', (_, yaml, problem) => {
    expect(problemsOf(yaml)).toEqual([problem]);
  });

  test('a file that is the directory of another file is an error', () => {
    expect(problemsOf('- objectName: a\n- objectName: a/b', { pathTranslation: 'false' })).toEqual([
      '2:15 error: the file a/b would lie below a, a file itself',
    ]);
  });

  test.each(['yes', '1', '', 'tru'])(
    'usePodServiceAccountToken %j: a misspelt word is not "false"',
    (text) => {
      expect(problemsOf('- objectName: a', { usePodServiceAccountToken: text })).toEqual([
        `0:0 error: usePodServiceAccountToken is neither "true" nor "false": ${text}`,
      ]);
    },
  );

  test('the letter case of usePodServiceAccountToken does not matter', () => {
    const podToken = (text: string): boolean | undefined =>
      plan('- objectName: a', { usePodServiceAccountToken: text }).plan?.login.podToken;
    expect(['true', 'True', 'TRUE', 'false', 'False'].map(podToken)).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
    expect(plan('- objectName: a').plan?.login.podToken).toBe(false);
  });
});

test('an unknown key or parameter is a warning, with the nearest name', () => {
  const { plan: compiled, problems } = plan(
    '- {objectName: s, objectAlais: x, jmesPath: [{path: a, alias: b}]}',
    {
      env_auth_mode: 'aksk',
      pathTranslaton: '-',
    },
  );
  expect(compiled).toBeDefined();
  expect(problems.map(({ severity, message, hint }) => [severity, message, hint])).toEqual([
    [
      'warning',
      'the parameter env_auth_mode is unknown to alibabacloud',
      'check the spelling, or remove it',
    ],
    [
      'warning',
      'the parameter pathTranslaton is unknown to alibabacloud',
      'did you mean pathTranslation?',
    ],
    ['warning', 'item 1 has an unknown key: objectAlais', 'did you mean objectAlias?'],
    [
      'warning',
      expect.stringContaining('jmesPath item 1 has an unknown key: alias'),
      'did you mean objectAlias?',
    ],
  ]);
});

test('every input gives either a plan without errors or errors without a plan', () => {
  const key = fc.constantFrom(
    ...[
      'objectName',
      'ObjectAlias',
      'objectVersion',
      'objectVersionLabel',
      'objectType',
      'jmesPath',
    ],
    ...['kmsEndpoint', 'crossAccountRoleArn', 'optional', 'x'],
  );
  const value = fc.oneof(
    fc.constantFrom(
      'kms',
      'oos',
      '1',
      'a',
      'b',
      '../x',
      'acs:kms:cn-hangzhou:1:secret/a',
      true,
      null,
    ),
    fc.jsonValue({ maxDepth: 2 }),
  );
  const items = fc.array(
    fc.oneof(fc.dictionary(key, value, { noNullPrototype: true }), fc.jsonValue({ maxDepth: 1 })),
  );
  fc.assert(
    fc.property(items, fc.string(), (list, pathTranslation) => {
      const text = JSON.stringify(list);
      const { plan: compiled, problems } = plan(text, { pathTranslation });
      expect(compiled === undefined).toBe(problems.some(({ severity }) => severity === 'error'));
      for (const file of compiled?.files ?? [])
        expect(compiled?.refs).toContain(file.sources.value?.ref);
      for (const { region } of compiled?.refs ?? []) expect(region).toBe('cn-hangzhou');
    }),
  );
});
