import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { planCce as planInSteps } from './class.ts';
import { runSteps } from '../../core/steps.ts';

const planCce = (...args: Parameters<typeof planInSteps>) => runSteps(planInSteps(...args));

const objects = (text: string): ReturnType<typeof planCce> => planCce({ objects: text });

/** `line:column message`, errors first as they stand. */
const problemsOf = (parameters: Record<string, string>): string[] =>
  planCce(parameters).problems.map(
    ({ severity, line = 0, column = 0, message }) => `${line}:${column} ${severity}: ${message}`,
  );

const secret = (name: string, more = ''): string =>
  `- {objectName: ${name}, objectType: csms, objectVersion: latest${more && `, ${more}`}}\n`;

describe('a class of the add-on', () => {
  test('compiles to refs and files', () => {
    const { plan, problems } = objects(`
      - objectName: "db_login"
        objectAlias: "login.json"
        objectVersion: "v1"
        objectType: "csms"
      - objectName: "tls_key"
        objectType: "csms"
        objectVersion: "latest"
        jmesPath:
          - path: cert
            objectAlias: tls.crt
          - path: key
            objectAlias: tls.key
    `);
    expect(problems).toEqual([]);
    expect(plan?.login).toEqual({ kind: 'cluster' });
    expect(plan?.refs).toEqual([
      { service: 'csms', name: 'db_login', version: 'v1' },
      { service: 'csms', name: 'tls_key', version: 'latest' },
    ]);
    const [login, tls] = plan?.refs ?? [];
    expect(plan?.files).toEqual([
      {
        path: 'login.json',
        sources: { value: { ref: login, selector: { kind: 'whole' } } },
        encoding: 'utf-8',
      },
      {
        path: 'tls.crt',
        sources: { value: { ref: tls, selector: { kind: 'key-or-jmespath', text: 'cert' } } },
        encoding: 'utf-8',
      },
      {
        path: 'tls.key',
        sources: { value: { ref: tls, selector: { kind: 'key-or-jmespath', text: 'key' } } },
        encoding: 'utf-8',
      },
    ]);
  });

  test('names the file after the secret if the alias is missing or empty', () => {
    for (const alias of ['', 'objectAlias: ""', 'objectAlias: null'])
      expect(objects(secret('db.login', alias)).plan?.files.map(({ path }) => path)).toEqual([
        'db.login',
      ]);
  });

  test('with jmesPath, writes the whole secret only if it has an alias', () => {
    const files = (alias: string): unknown =>
      objects(secret('s', `${alias}jmesPath: [{path: a}]`)).plan?.files.map(({ path }) => path);
    expect(files('')).toEqual(['a']);
    expect(files('objectAlias: all.json, ')).toEqual(['all.json', 'a']);
    expect(objects(secret('s', 'jmesPath: []')).plan?.files.map(({ path }) => path)).toEqual(['s']);
  });

  test.each([
    'db.password',
    'user-name',
    'a b',
    'k/1',
    '键',
    '__proto__',
    '"quoted"',
    "it's",
    'a\\\\b',
  ])('takes the key %s literally', (key) => {
    const yaml = secret('s', `jmesPath: [{path: ${JSON.stringify(key)}, objectAlias: file}]`);
    expect(objects(yaml).plan?.files[0]?.sources.value?.selector).toEqual({
      kind: 'key-or-jmespath',
      text: key,
    });
  });

  test('takes a number as a name literally', () => {
    expect(objects(secret('0123')).plan?.refs[0]?.name).toBe('0123');
  });
});

test('does not report a value of the wrong type as missing, too', () => {
  expect(
    problemsOf({ objects: '- {objectName: [a], objectType: csms, objectVersion: v1}' }),
  ).toHaveLength(1);
});

describe('the extensions of Keyferry', () => {
  test('set optional, encoding and filePermission for all files of an object', () => {
    const yaml = secret(
      's',
      'optional: true, encoding: base64, filePermission: 0400, jmesPath: [{path: a}, {path: b}]',
    );
    expect(objects(yaml).plan?.files).toMatchObject([
      { path: 'a', optional: true, encoding: 'base64', mode: 0o400 },
      { path: 'b', optional: true, encoding: 'base64', mode: 0o400 },
    ]);
  });

  test('set encoding and filePermission of an extracted key before those of its object', () => {
    const yaml = secret(
      's',
      'objectAlias: all, filePermission: "0640", jmesPath: [{path: a, encoding: HEX, filePermission: 600}]',
    );
    expect(objects(yaml).plan?.files).toMatchObject([
      { path: 'all', encoding: 'utf-8', mode: 0o640 },
      { path: 'a', encoding: 'hex', mode: 0o600 },
    ]);
  });

  test('read the parameters of pod OIDC', () => {
    const urns = { agencyUrn: 'iam::123:agency:app', providerUrn: 'iam::123:oidcProvider:cluster' };
    expect(planCce({ objects: secret('s'), usePodOIDC: 'true', ...urns }).plan?.login).toEqual({
      kind: 'pod',
      ...urns,
      audience: 'sts.huaweicloud.com',
    });
    expect(
      planCce({ objects: secret('s'), usePodOIDC: 'true', ...urns, audience: 'mine' }).plan?.login,
    ).toMatchObject({ audience: 'mine' });
    expect(planCce({ objects: secret('s'), usePodOIDC: 'false' }).plan?.login).toEqual({
      kind: 'cluster',
    });
  });
});

describe('reports all problems at once:', () => {
  test('a class without objects', () => {
    expect(problemsOf({})).toEqual(['0:0 error: the parameter `objects` is missing']);
    expect(problemsOf({ objects: '' })).toEqual([expect.stringContaining('`objects` is empty')]);
  });

  test('an object without a required key', () => {
    expect(
      problemsOf({ objects: '- objectAlias: a\n- objectName: b\n  objectVersion:\n' }),
    ).toEqual([
      '1:3 error: item 1 has no objectName',
      '1:3 error: item 1 has no objectType',
      '1:3 error: item 1 has no objectVersion',
      '2:3 error: item 2 has no objectType',
      '2:3 error: item 2 has no objectVersion',
    ]);
  });

  test.each([
    [
      'objectName',
      '{objectName: a/b, objectType: csms, objectVersion: v1}',
      'not a name that CSMS allows: a/b',
    ],
    [
      'objectName',
      '{objectName: .., objectAlias: f, objectType: csms, objectVersion: v1}',
      'not a name that CSMS allows: ..',
    ],
    [
      'objectName',
      `{objectName: ${'x'.repeat(65)}, objectType: csms, objectVersion: v1}`,
      'not a name that CSMS allows',
    ],
    [
      'objectName',
      '{objectName: [a], objectType: csms, objectVersion: v1}',
      'objectName of item 1 must be a single value',
    ],
    [
      'objectType',
      '{objectName: a, objectType: CSMS, objectVersion: v1}',
      'objectType of item 1 is not known: CSMS',
    ],
    [
      'objectVersion',
      '{objectName: a, objectType: csms, objectVersion: 1}',
      'not a version of CSMS: 1',
    ],
    [
      'objectVersion',
      '{objectName: a, objectType: csms, objectVersion: v12345678901}',
      'not a version of CSMS',
    ],
    [
      'objectVersion',
      '{objectName: a, objectType: csms, objectVersion: "v1/../v2"}',
      'not a version of CSMS',
    ],
    [
      'encoding',
      '{objectName: a, objectType: csms, objectVersion: v1, encoding: rot13}',
      'encoding of item 1 is not known',
    ],
    [
      'filePermission',
      '{objectName: a, objectType: csms, objectVersion: v1, filePermission: "0888"}',
      'not an octal file mode',
    ],
    [
      'filePermission',
      '{objectName: a, objectType: csms, objectVersion: v1, filePermission: "4755"}',
      'not an octal file mode',
    ],
    [
      'optional',
      '{objectName: a, objectType: csms, objectVersion: v1, optional: perhaps}',
      'optional of item 1 must be true or false',
    ],
    [
      'jmesPath',
      '{objectName: a, objectType: csms, objectVersion: v1, jmesPath: key}',
      'jmesPath of item 1 must be a list',
    ],
    [
      'jmesPath',
      '{objectName: a, objectType: csms, objectVersion: v1, jmesPath: [{objectAlias: f}]}',
      'has no path',
    ],
  ])('a bad %s: %s', (_, item, message) => {
    expect(problemsOf({ objects: `- ${item}` })).toContainEqual(expect.stringContaining(message));
    expect(objects(`- ${item}`).plan).toBeUndefined();
  });

  test.each([
    [
      'the same secret twice',
      secret('a') + secret('a', 'objectAlias: b'),
      '2:16 error: objectName of item 2 is that of item 1 too',
    ],
    [
      'an alias that is its own name',
      secret('a', 'objectAlias: a'),
      '1:73 error: objectAlias of item 1 is its own objectName',
    ],
    [
      'an alias that is the name of another',
      secret('a', 'objectAlias: b') + secret('b', 'objectAlias: c'),
      '1:73 error: objectAlias of item 1 is the objectName of item 2',
    ],
    [
      'two equal aliases',
      secret('a', 'objectAlias: x') + secret('b', 'objectAlias: x'),
      '2:73 error: the file name x occurs twice',
    ],
    [
      'an extracted file with the name of another file',
      secret('a') + secret('b', 'jmesPath: [{path: a}]'),
      '2:78 error: the file name a occurs twice',
    ],
    [
      'a file below another',
      secret('a') + secret('b', 'jmesPath: [{path: a/b}]'),
      '2:78 error: the file a/b would lie below a, a file itself',
    ],
    [
      'a path out of the volume',
      secret('a', 'objectAlias: ../../etc/passwd'),
      '1:73 error: the file name ../../etc/passwd has a ".." element',
    ],
    [
      'a key that is not a file name',
      secret('a', 'jmesPath: [{path: /k}]'),
      '1:78 error: the file name /k is absolute; it must be relative',
    ],
  ])('%s', (_, yaml, expectedProblem) => {
    expect(problemsOf({ objects: yaml })).toEqual([expectedProblem]);
  });

  test('pod OIDC that is incomplete or not enabled', () => {
    expect(
      problemsOf({ objects: secret('s'), usePodOIDC: 'true', agencyUrn: 'iam::1:agency:a' }),
    ).toEqual(['0:0 error: usePodOIDC needs the parameter providerUrn']);
    expect(problemsOf({ objects: secret('s'), usePodOIDC: 'yes' })).toEqual([
      '0:0 error: usePodOIDC is neither "true" nor "false": yes',
    ]);
    expect(problemsOf({ objects: secret('s'), agencyUrn: 'iam::1:agency:a' })).toEqual([
      '0:0 error: agencyUrn has no effect without usePodOIDC',
    ]);
    expect(
      problemsOf({ objects: secret('s'), usePodOIDC: 'true', agencyUrn: 'a b', providerUrn: 'p' }),
    ).toEqual(['0:0 error: agencyUrn has spaces or unusual characters, or is too long']);
  });
});

test('warns about unknown names, with the nearest known one', () => {
  const { plan, problems } = planCce({
    objects: secret('s', 'objectalias: x, jmesPath: [{path: a, alias: b}]'),
    objekts: 'x',
  });
  expect(plan).toBeDefined();
  expect(problems.map(({ severity, message, hint }) => [severity, message, hint])).toEqual([
    ['warning', 'the parameter objekts is unknown to cce', 'did you mean objects?'],
    ['warning', 'item 1 has an unknown key: objectalias', 'did you mean objectAlias?'],
    [
      'warning',
      expect.stringContaining('jmesPath item 1 has an unknown key: alias'),
      'did you mean objectAlias?',
    ],
  ]);
});

test('returns either a plan without errors, or errors without a plan', () => {
  const key = fc.constantFrom(
    'objectName',
    'objectAlias',
    'objectVersion',
    'objectType',
    'jmesPath',
    'optional',
    'x',
  );
  const value = fc.oneof(
    fc.constantFrom('csms', 'latest', 'v1', 'a', 'b', '../x', true, null),
    fc.jsonValue({ maxDepth: 2 }),
  );
  const items = fc.array(
    fc.oneof(fc.dictionary(key, value, { noNullPrototype: true }), fc.jsonValue({ maxDepth: 1 })),
  );
  fc.assert(
    fc.property(items, (list) => {
      const { plan, problems } = objects(JSON.stringify(list));
      expect(plan === undefined).toBe(problems.some(({ severity }) => severity === 'error'));
      for (const file of plan?.files ?? []) expect(plan?.refs).toContain(file.sources.value?.ref);
    }),
  );
});
