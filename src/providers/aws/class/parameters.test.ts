import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Selector } from '../../../core/plan.ts';
import { checkFilePath, findPathClash } from '../../../formats/file-path.ts';
import { type AwsNodeFacts, planAws as planInSteps } from './parameters.ts';
import { runSteps } from '../../../core/steps.ts';

const planAws = (...args: Parameters<typeof planInSteps>) => runSteps(planInSteps(...args));

const nodeFacts: AwsNodeFacts = { region: 'eu-west-1' };
type More = Readonly<Record<string, string>>;
const failover = { failoverRegion: 'us-east-1' };

const plan = (objects: string, more: More = {}): ReturnType<typeof planAws> =>
  planAws({ objects, ...more }, nodeFacts);

/** `line:column severity: message`. */
const problemsOf = (
  objects: string,
  more: More = {},
  known: AwsNodeFacts | undefined = nodeFacts,
): string[] =>
  planAws({ objects, ...more }, known).problems.map(
    ({ severity, line = 0, column = 0, message }) => `${line}:${column} ${severity}: ${message}`,
  );

const paths = (objects: string, more: More = {}): string[] | undefined =>
  plan(objects, more).plan?.files.map(({ path }) => path);

const refs = (objects: string, more: More = {}) => plan(objects, more).plan?.refs;

/** An object of one type. */
const secret = (fields: string): string => `- {objectType: secretsmanager, ${fields}}`;
const parameter = (fields: string): string => `- {objectType: ssmparameter, ${fields}}`;

const current = { service: 'secretsmanager', region: 'eu-west-1', stage: 'AWSCURRENT' };
const inSsm = { service: 'ssm', region: 'eu-west-1' };

const secretArn = 'arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf';
const parameterArn = 'arn:aws:ssm:eu-west-1:111122223333:parameter/app/banner';

describe('a class of AWS’s provider', () => {
  test('compiles to refs and files', () => {
    const { plan: compiled, problems } = planAws({
      region: 'us-west-2',
      failoverRegion: 'us-east-1',
      usePodIdentity: 'true',
      preferredAddressType: 'IPv6',
      pathTranslation: '_',
      objects: `
        - objectName: "prod/db"
          objectType: "secretsmanager"
          objectAlias: "db.json"
          filePermission: "0600"
          failoverObject:
            objectName: "prod/db-replica"
            objectVersionLabel: "blue"
          jmesPath:
            - path: username
              objectAlias: db-user
            - path: '"pass-word"'
              objectAlias: db-pass
              filePermission: "0400"
        - objectName: /app/banner
          objectType: ssmparameter
          objectVersion: 3
      `,
    });
    expect(problems).toEqual([]);
    expect(compiled?.login).toEqual({ usePodIdentity: true, addressType: 'ipv6' });
    const [region, elsewhere] = ['us-west-2', 'us-east-1'];
    expect(compiled?.refs).toEqual([
      {
        ...{ service: 'secretsmanager', name: 'prod/db', region, stage: 'AWSCURRENT' },
        fallbacks: [
          { service: 'secretsmanager', name: 'prod/db-replica', region: elsewhere, stage: 'blue' },
        ],
      },
      {
        ...{ service: 'ssm', name: '/app/banner', region, version: '3' },
        fallbacks: [{ service: 'ssm', name: '/app/banner', region: elsewhere, version: '3' }],
      },
    ]);
    const [db, banner] = compiled?.refs ?? [];
    const file = (path: string, ref: unknown, selector: Selector, mode?: number): unknown => ({
      path,
      sources: { value: { ref, selector } },
      encoding: 'utf-8',
      ...(mode !== undefined && { mode }),
    });
    expect(compiled?.files).toEqual([
      file('db.json', db, { kind: 'whole' }, 0o600),
      file('db-user', db, { kind: 'jmespath', expression: 'username' }, 0o600),
      file('db-pass', db, { kind: 'jmespath', expression: '"pass-word"' }, 0o400),
      file('_app_banner', banner, { kind: 'whole' }),
    ]);
  });

  test('has keys in any letter case, also in failoverObject and jmesPath', () => {
    const text =
      '- {OBJECTNAME: a, objecttype: SecretsManager, ObjectAlias: b, JmesPath: [{Path: k, ObjectALIAS: c}], ' +
      'FailoverObject: {ObjectName: d}}';
    expect(
      planAws({ Objects: text, REGION: 'eu-west-1', failoverregion: 'us-east-1' }),
    ).toMatchObject({
      problems: [],
      plan: {
        refs: [{ ...current, name: 'a', fallbacks: [{ name: 'd', region: 'us-east-1' }] }],
        files: [{ path: 'b' }, { path: 'c' }],
      },
    });
  });

  test('has scalars as the text that the user wrote', () => {
    const yaml =
      '- {objectName: 1.50, objectType: secretsmanager, objectAlias: true, objectVersion: 0123, filePermission: 0600}';
    expect(plan(yaml)).toMatchObject({
      problems: [
        {
          severity: 'hint',
          message: "objectName of item 1 is 1.50 here; AWS's provider reads 1.5",
          hint: 'put the text that you mean in quotes',
        },
        {
          severity: 'hint',
          message: "objectVersion of item 1 is 0123 here; AWS's provider reads 83",
        },
      ],
      plan: {
        refs: [{ service: 'secretsmanager', name: '1.50', version: '0123' }],
        files: [{ path: 'true', mode: 0o600 }],
      },
    });
  });

  test('mounts the whole secret besides the extracted values, which need no alias', () => {
    expect(
      paths(secret('objectName: s, jmesPath: [{path: a}, {path: b.c, objectAlias: x}]')),
    ).toEqual(['s', 'a', 'x']);
  });

  test('keeps quotes in an alias as a part of the name', () => {
    expect(
      paths(
        secret(`objectName: s, jmesPath: [{path: '"a-b"', objectAlias: '"hyphenated-alias"'}]`),
      ),
    ).toEqual(['s', '"hyphenated-alias"']);
  });

  test('has warnings for unknown keys, with the most similar name', () => {
    expect(
      plan(secret('objectName: a, inFallback: true, backupArn: x, objectAlais: b'), { regoin: 'x' })
        .problems,
    ).toMatchObject([
      {
        severity: 'error',
        message: 'the parameter regoin is unknown to aws, and it says in which region to read',
        hint: 'write region',
      },
      { severity: 'warning', message: 'item 1 has an unknown key: inFallback' },
      { severity: 'warning', message: 'item 1 has an unknown key: backupArn' },
      { severity: 'warning', hint: 'did you mean objectAlias?' },
    ]);
    expect(
      problemsOf(
        secret('objectName: a, objectAlias: f, failoverObject: {objectName: b, objectAlias: c}'),
        failover,
      ),
    ).toEqual(['1:95 warning: item 1, failoverObject has an unknown key: objectAlias']);
    expect(
      problemsOf(
        secret('objectName: a, failoverObject: {objectName: b, objectAlias: c}'),
        failover,
      ),
    ).toEqual([
      expect.stringMatching(/error: the objectAlias of item 1 is inside its failoverObject/),
    ]);
  });

  test('can use optional and encoding, which are Keyferry’s own', () => {
    const yaml = secret(
      'objectName: a, optional: true, encoding: base64, jmesPath: [{path: k, encoding: hex}]',
    );
    expect(plan(yaml).plan?.files).toMatchObject([
      { path: 'a', optional: true, encoding: 'base64' },
      { path: 'k', optional: true, encoding: 'hex' },
    ]);
  });
});

describe('names and types', () => {
  test.each([
    [secret(`objectName: "rds!db-1234", objectAlias: f`), { ...current, name: 'rds!db-1234' }],
    [`- objectName: "${secretArn}"`, { ...current, name: secretArn }],
    [secret(`objectName: "${secretArn}"`), { ...current, name: secretArn }],
    [`- objectName: "${parameterArn}"`, { ...inSsm, name: parameterArn }],
    [parameter(`objectName: "${parameterArn}"`), { ...inSsm, name: parameterArn }],
    [
      parameter('objectName: "/aws/reference/secretsmanager/my+secret@1"'),
      { ...inSsm, name: '/aws/reference/secretsmanager/my+secret@1' },
    ],
  ])('%s', (yaml, ref) => {
    expect(plan(yaml).problems).toEqual([]);
    expect(refs(yaml)).toEqual([ref]);
  });

  test.each([
    ['- objectName: a', 'item 1 has no objectType'],
    ['- {objectName: a, objectType: ssm}', 'objectType of item 1 is not known: ssm'],
    ['- {objectName: a, objectType: sts}', 'objectType of item 1 is not known: sts'],
    [
      parameter(`objectName: "${secretArn}"`),
      'is an ARN of secretsmanager, but objectType names another service',
    ],
    [
      secret(`objectName: "${parameterArn}"`),
      'is an ARN of ssm, but objectType names another service',
    ],
    [parameter('objectName: "a:3"'), 'is not a valid parameter name: a:3'],
    [parameter('objectName: "a b"'), 'is not a valid parameter name'],
    [secret('objectName: "a\\nb", objectAlias: f'), 'has control characters'],
    [secret(''), 'item 1 has no objectName'],
    ['-', 'item 1 is empty'],
    ...[
      'arn::',
      'arn:aws:sts:eu-west-1:111122223333:secret:a',
      'arn:aws:secretsmanager:EU:111122223333:secret:a',
      'arn:aws:secretsmanager:eu-west-1.evil.example/:111122223333:secret:a',
      'arn:aws:secretsmanager:eu-west-1:1:secret:a',
      'arn:aws:secretsmanager:eu-west-1:111122223333:key:a',
      'arn:aws:secretsmanager:eu-west-1:111122223333:secret:',
      'arn:aws:ssm:eu-west-1:111122223333:parameter/a:3',
      'arn:aws:ssm:eu-west-1:111122223333:document/a',
    ].map((arn) => [
      `- {objectName: "${arn}", objectAlias: f}`,
      'is not an ARN of a secret or a parameter',
    ]),
  ])('rejects %s', (yaml = '', message = '') => {
    expect(problemsOf(yaml).join('\n')).toMatch(/error/);
    expect(problemsOf(yaml).join('\n')).toContain(message);
    expect(plan(yaml).plan).toBeUndefined();
  });

  test('can be in other partitions', () => {
    const arn = 'arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:a';
    expect(refs(`- objectName: "${arn}"`, { region: 'cn-north-1' })).toMatchObject([
      { region: 'cn-north-1' },
    ]);
  });
});

describe('the region', () => {
  test('is that of the class before that of the node', () => {
    expect(refs(secret('objectName: a'), { region: 'eu-central-1' })?.[0]?.region).toBe(
      'eu-central-1',
    );
    expect(refs(secret('objectName: a'), { region: '' })?.[0]?.region).toBe('eu-west-1');
  });

  test('of an ARN must be that of the class or the node', () => {
    expect(problemsOf(`- objectName: "${secretArn}"`, { region: 'eu-central-1' })).toEqual([
      '1:15 error: objectName of item 1 is an ARN of eu-west-1, but is to be read in eu-central-1',
    ]);
    expect(problemsOf(`- objectName: "${secretArn}"`, {}, { region: 'us-east-1' })).toHaveLength(1);
  });

  test('is needed for names and not for ARNs: lint skips the checks that need it', () => {
    const skipped = [
      'the region, which the class leaves to the node, and the checks that depend on it',
    ];
    expect(planAws({ objects: secret('objectName: a') })).toMatchObject({ problems: [], skipped });
    const arns = { objects: `- objectName: "${secretArn}"\n- objectName: "${parameterArn}"` };
    expect(planAws(arns)).toMatchObject({ problems: [], plan: { refs: [current, inSsm] } });
    expect(planAws(arns).skipped).toBeUndefined();
    const mixed = `${arns.objects}\n${secret('objectName: a')}`;
    expect(planAws({ objects: mixed })).toMatchObject({ problems: [], skipped });
    expect(planAws({ objects: mixed, region: 'eu-west-1' }).skipped).toBeUndefined();
    expect(planAws({ objects: mixed }, { region: 'eu-west-1' }).skipped).toBeUndefined();
  });

  test.each(['ireland', 'eu-west-1.evil.example/', 'EU-WEST-1', 'eu west 1'])(
    'rejects %s',
    (region) => {
      expect(problemsOf(secret('objectName: a'), { region })).toEqual([
        `0:0 error: region is not a region: ${region}`,
      ]);
      expect(problemsOf(secret('objectName: a'), { failoverRegion: region })).toEqual([
        `0:0 error: failoverRegion is not a region: ${region}`,
      ]);
    },
  );
});

describe('versions and labels', () => {
  test('of a secret: a version has no stage, and a label is the stage', () => {
    expect(refs(secret('objectName: a, objectVersion: v2'))).toEqual([
      { service: 'secretsmanager', region: 'eu-west-1', name: 'a', version: 'v2' },
    ]);
    expect(refs(secret('objectName: a, objectVersionLabel: AWSPREVIOUS'))).toEqual([
      { ...current, name: 'a', stage: 'AWSPREVIOUS' },
    ]);
  });

  test('of a secret can be combined, with a warning: they break at the next rotation', () => {
    const both = secret('objectName: a, objectVersion: v2, objectVersionLabel: AWSCURRENT');
    expect(refs(both)).toEqual([{ ...current, name: 'a', version: 'v2' }]);
    expect(problemsOf(both)).toEqual([expect.stringContaining('warning: item 1 has both')]);
  });

  test('of a parameter: a number is a version and other text a label, under both keys', () => {
    expect(refs(parameter('objectName: a, objectVersion: 3'))).toEqual([
      { ...inSsm, name: 'a', version: '3' },
    ]);
    expect(refs(parameter('objectName: a, objectVersionLabel: prod'))).toEqual([
      { ...inSsm, name: 'a', stage: 'prod' },
    ]);
    expect(refs(parameter('objectName: a, objectVersion: prod'))).toEqual([
      { ...inSsm, name: 'a', stage: 'prod' },
    ]);
    expect(refs(parameter('objectName: a, objectVersionLabel: 3'))).toEqual([
      { ...inSsm, name: 'a', version: '3' },
    ]);
  });

  test.each([
    [
      parameter('objectName: a, objectVersion: 3, objectVersionLabel: prod'),
      'has both objectVersion and',
    ],
    [
      parameter('objectName: a, objectVersion: 0'),
      'neither a version nor a label of a parameter: 0',
    ],
    [
      parameter('objectName: a, objectVersionLabel: "a:b"'),
      'neither a version nor a label of a parameter: a:b',
    ],
    [secret('objectName: a, objectVersion: "a b"'), 'objectVersion of item 1 has spaces'],
    [
      secret('objectName: a, objectVersionLabel: "é"'),
      'objectVersionLabel of item 1 has spaces or unusual',
    ],
  ])('rejects %s', (yaml, message) => {
    expect(problemsOf(yaml).join()).toMatch(/error: .*/);
    expect(problemsOf(yaml).join()).toContain(message);
  });

  test('of one parameter: two versions are two refs and two files', () => {
    const yaml = [3, 4]
      .map((version) =>
        parameter(`objectName: a, objectAlias: v${version}, objectVersion: ${version}`),
      )
      .join('\n');
    const compiled = plan(yaml).plan!;
    expect(compiled.refs.map(({ version }) => version)).toEqual(['3', '4']);
    expect(compiled.files.map(({ path, sources }) => [path, sources.value?.ref.version])).toEqual([
      ['v3', '3'],
      ['v4', '4'],
    ]);
  });

  test('objects that read the same secret share one ref', () => {
    const yaml = [
      'objectName: a',
      'objectName: a, objectAlias: b',
      'objectName: a, objectAlias: c, objectVersionLabel: AWSCURRENT',
    ];
    const compiled = plan(yaml.map(secret).join('\n')).plan!;
    expect(compiled.refs).toEqual([{ ...current, name: 'a' }]);
    // Render finds the value by the identity of the ref.
    for (const { sources } of compiled.files) expect(sources.value?.ref).toBe(compiled.refs[0]);
  });

  test('objects with different fallbacks do not share a ref', () => {
    const yaml = ['x', 'y'].map((name) =>
      secret(`objectName: a, objectAlias: ${name}, failoverObject: {objectName: ${name}}`),
    );
    expect(refs(yaml.join('\n'), failover)?.map(({ fallbacks }) => fallbacks?.[0]?.name)).toEqual([
      'x',
      'y',
    ]);
  });
});

describe('failover', () => {
  const there = { ...current, region: 'us-east-1' };
  const there2 = secretArn.replace('eu-west-1', 'us-east-1');

  test('is off without a failoverRegion', () => {
    expect(refs(secret('objectName: a'))?.[0]).not.toHaveProperty('fallbacks');
  });

  test('reads the same name, version and label in the other region', () => {
    expect(refs(secret('objectName: a'), failover)).toMatchObject([
      { fallbacks: [{ ...there, name: 'a' }] },
    ]);
    expect(refs(parameter('objectName: a, objectVersionLabel: prod'), failover)).toEqual([
      {
        ...{ ...inSsm, name: 'a', stage: 'prod' },
        fallbacks: [{ service: 'ssm', name: 'a', region: 'us-east-1', stage: 'prod' }],
      },
    ]);
  });

  test('reads the object of failoverObject', () => {
    const yaml = `- {objectName: "${secretArn}", objectAlias: f, failoverObject: {objectName: "${there2}"}}`;
    expect(refs(yaml, failover)).toMatchObject([{ fallbacks: [{ ...there, name: there2 }] }]);
    const pinned = secret(
      'objectName: a, objectAlias: f, objectVersion: v1, failoverObject: {objectName: b, objectVersion: v1}',
    );
    expect(refs(pinned, failover)?.[0]?.fallbacks).toEqual([
      { service: 'secretsmanager', name: 'b', region: 'us-east-1', version: 'v1' },
    ]);
  });

  test('has the label of failoverObject, else that of the primary', () => {
    const fallbackStage = (ownLabel: string): unknown =>
      refs(
        parameter(
          `objectName: a, objectAlias: f, objectVersionLabel: x, failoverObject: {objectName: b${ownLabel}}`,
        ),
        failover,
      )?.[0]?.fallbacks?.[0]?.stage;
    expect([fallbackStage(''), fallbackStage(', objectVersionLabel: y')]).toEqual(['x', 'y']);
  });

  test('of an ARN needs a failoverObject, because an ARN is in one region', () => {
    expect(problemsOf(`- objectName: "${secretArn}"`, failover)).toEqual([
      expect.stringContaining('warning: objectName of item 1 is an ARN, which lies in one region'),
    ]);
    expect(refs(`- objectName: "${secretArn}"`, failover)?.[0]).not.toHaveProperty('fallbacks');
  });

  test.each([
    [
      'objectName: a, objectAlias: f, failoverObject: {objectName: b}',
      {},
      'but the class has no failoverRegion',
    ],
    ['objectName: a, failoverObject: {objectName: b}', failover, 'but no objectAlias'],
    [
      'objectName: a, objectAlias: f, failoverObject: {objectVersionLabel: b}',
      failover,
      'has no objectName',
    ],
    [
      'objectName: a, objectAlias: f, failoverObject: b',
      failover,
      'failoverObject of item 1 must be a map',
    ],
    [
      'objectName: a, objectAlias: f, objectVersion: v1, failoverObject: {objectName: b}',
      failover,
      'objectVersion of item 1 is v1, that of its failoverObject none',
    ],
    [
      'objectName: a, objectAlias: f, objectVersion: v1, failoverObject: {objectName: b, objectVersion: v2}',
      failover,
      'objectVersion of item 1 is v1, that of its failoverObject v2',
    ],
    [
      `objectName: a, objectAlias: f, failoverObject: {objectName: "${secretArn}"}`,
      failover,
      'objectName of item 1, failoverObject is an ARN of eu-west-1, but is to be read in us-east-1',
    ],
    [
      `objectName: a, objectAlias: f, failoverObject: {objectName: "${parameterArn.replace('eu-west-1', 'us-east-1')}"}`,
      failover,
      'is an ARN of ssm, but objectType names another service',
    ],
    [
      'objectName: a',
      { failoverRegion: 'eu-west-1' },
      'failoverRegion is the region itself: eu-west-1',
    ],
  ])('rejects %s with %j', (fields, more: More, message) => {
    expect(problemsOf(secret(fields), more)).toEqual([expect.stringMatching(/error/)]);
    expect(problemsOf(secret(fields), more).join()).toContain(message);
    expect(plan(secret(fields), more).plan).toBeUndefined();
  });

  test('needs an objectType for a name besides an ARN', () => {
    const yaml = `- {objectName: "${secretArn}", objectAlias: f, failoverObject: {objectName: b}}`;
    expect(problemsOf(yaml, failover)).toEqual([
      expect.stringContaining('error: item 1, failoverObject has no objectType'),
    ]);
    expect(
      problemsOf(
        `- {objectName: b, objectAlias: f, failoverObject: {objectName: "${there2}"}}`,
        failover,
      ),
    ).toEqual([expect.stringContaining('error: item 1 has no objectType')]);
  });

  test('rejects ARNs of two services', () => {
    const other = parameterArn.replace('eu-west-1', 'us-east-1');
    const yaml = `- {objectName: "${secretArn}", objectAlias: f, failoverObject: {objectName: "${other}"}}`;
    expect(problemsOf(yaml, failover)).toEqual([
      expect.stringContaining('belongs to ssm, that of item 1 to secretsmanager'),
    ]);
  });

  test('rejects an ARN of the failoverRegion in a class without a region', () => {
    expect(problemsOf(`- objectName: "${there2}"`, failover, {})).toEqual([
      expect.stringContaining('error: objectName of item 1 is an ARN of the failoverRegion itself'),
    ]);
  });
});

describe('the login', () => {
  const login = (more: More) => plan(secret('objectName: a'), more).plan?.login;

  test.each(['1', 't', 'T', 'TRUE', 'true', 'True'])('usePodIdentity %s', (usePodIdentity) =>
    expect(login({ usePodIdentity })?.usePodIdentity).toBe(true),
  );
  test.each(['0', 'f', 'F', 'FALSE', 'false', 'False', ''])(
    'usePodIdentity is off: %j',
    (usePodIdentity) => expect(login({ usePodIdentity })?.usePodIdentity).toBe(false),
  );
  test.each(['yes', 'tRue', 'on', '2', ' true'])('rejects usePodIdentity %j', (text) => {
    expect(problemsOf(secret('objectName: a'), { usePodIdentity: text })).toEqual([
      expect.stringContaining('error: usePodIdentity is neither "true" nor "false"'),
    ]);
  });

  test('reads preferredAddressType in any letter case, and warns of unknown text', () => {
    expect(
      ['ipv4', 'IPV6', 'Auto', ''].map(
        (type) => login({ preferredAddressType: type })?.addressType,
      ),
    ).toEqual(['ipv4', 'ipv6', 'auto', 'auto']);
    expect(login({ preferredAddressType: 'v6' })?.addressType).toBe('auto');
    expect(problemsOf(secret('objectName: a'), { preferredAddressType: 'v6' })).toEqual([
      expect.stringContaining('warning: preferredAddressType is not ipv4, ipv6 or auto'),
    ]);
  });
});

describe('file names', () => {
  const names = secret('objectName: /eu/prod/db, jmesPath: [{path: k, objectAlias: x/y}]');

  test.each([
    [{}, ['_eu_prod_db', 'x_y']],
    [{ pathTranslation: '-' }, ['-eu-prod-db', 'x-y']],
    [{ pathTranslation: 'FALSE' }, ['eu/prod/db', 'x/y']],
  ])('with %j', (more: More, expected) => expect(paths(names, more)).toEqual(expected));

  test.each(['/', '--', 'true'])('reject pathTranslation %s', (pathTranslation) =>
    expect(problemsOf(names, { pathTranslation })).toEqual([
      expect.stringContaining('error: pathTranslation is'),
    ]),
  );

  test('follow the rules of the driver, also for extracted values', () => {
    const off = { pathTranslation: 'False' };
    expect(problemsOf(parameter('objectName: "/..mypath"'), off)).toEqual([
      '1:42 error: the file name ..mypath begins with "..", which is reserved for the driver',
    ]);
    expect(paths(parameter('objectName: "/..mypath"'))).toEqual(['_..mypath']);
    expect(
      problemsOf(
        secret('objectName: a, jmesPath: [{path: k, objectAlias: ../../etc/passwd}]'),
        off,
      ),
    ).toEqual([
      expect.stringContaining('error: the file name ../../etc/passwd has a ".." element'),
    ]);
    expect(problemsOf(secret('objectName: a/../b'), off)).toEqual([
      expect.stringContaining('has a ".." element'),
    ]);
    expect(paths(secret('objectName: mypath../param'), off)).toEqual(['mypath../param']);
  });

  test.each([
    ['names that translation makes equal', [secret('objectName: a/b'), secret('objectName: a_b')]],
    ['an alias and a name', [secret('objectName: a'), secret('objectName: b, objectAlias: a')]],
    ['two types', [secret('objectName: a'), parameter('objectName: a')]],
    [
      'an extracted value',
      [secret('objectName: a'), secret('objectName: b, jmesPath: [{path: x, objectAlias: a}]')],
    ],
  ])('must differ: %s', (_, yaml) => {
    expect(problemsOf(yaml.join('\n'))).toEqual([
      expect.stringMatching(/^2:\d+ error: .* occurs twice$/),
    ]);
  });

  test('must not be the directory of another file', () => {
    expect(
      problemsOf([secret('objectName: a'), secret('objectName: a/b')].join('\n'), {
        pathTranslation: 'false',
      }),
    ).toEqual([expect.stringContaining('the file a/b would lie below a, a file itself')]);
  });
});

describe('problems', () => {
  test('include a class without objects', () => {
    expect(planAws({}).problems).toMatchObject([
      { severity: 'error', message: 'the parameter `objects` is missing', parameter: 'objects' },
    ]);
    expect(problemsOf('')).toEqual(['1:1 error: `objects` is empty']);
    expect(problemsOf('[]')).toEqual(['1:1 error: `objects` is empty']);
  });

  test('are all reported at once', () => {
    expect(
      problemsOf('- {objectName: a, objectType: ssm}\n- {objectAlias: "../x"}\n', {
        region: 'X',
        pathTranslation: 'no',
      }),
    ).toHaveLength(5);
  });

  test.each([
    ['jmesPath: [{objectAlias: f}]', 'item 1, jmesPath item 1 has no path'],
    ['jmesPath: [{path: pass-word}]', 'needs quotes: "pass-word"'],
    ['jmesPath: [{path: .username}]', 'is not JMESPath'],
    ['jmesPath: key', 'jmesPath of item 1 must be a list'],
    ['encoding: rot13', 'encoding of item 1 is not known'],
    ['filePermission: "0888"', 'not an octal file mode'],
    ['filePermission: "1777"', 'not an octal file mode'],
    ['filePermission: "07777"', 'not an octal file mode'],
    ['jmesPath: [{path: k, filePermission: rw}]', 'not an octal file mode'],
    ['optional: perhaps', 'optional of item 1 must be true or false'],
    ['OBJECTNAME: b', 'the key OBJECTNAME occurs twice'],
  ])('%s', (field, message) => {
    const yaml = secret(`objectName: a, ${field}`);
    expect(problemsOf(yaml)).toEqual([expect.stringMatching(/^1:\d+ error/)]);
    expect(problemsOf(yaml).join()).toContain(message);
    expect(plan(yaml).plan).toBeUndefined();
  });
});

test('gives either a plan without errors or errors without a plan, for any class', () => {
  const any = fc.jsonValue({ maxDepth: 1 });
  const rarely = <T>(arbitrary: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 12, arbitrary }, { weight: 1, arbitrary: any });
  const name = fc.constantFrom(
    'a',
    'b/c',
    '/b/c',
    'b_c',
    '../x',
    '..y',
    'z',
    secretArn,
    parameterArn,
  );
  const selector = fc.constantFrom('1', 'v', '');
  const fields = {
    objectName: rarely(name),
    ObjectType: rarely(fc.constantFrom('secretsmanager', 'ssmparameter')),
  };
  const failoverObject = fc.record(
    { objectName: name, objectVersion: selector },
    { requiredKeys: ['objectName'] },
  );
  const jmesPath = fc.array(
    fc.record({ path: fc.constantFrom('k', 'a-b', 'x.y'), objectAlias: name }),
    {
      maxLength: 2,
    },
  );
  const object = fc.oneof(
    fc.record(fields),
    fc.record(
      {
        ...fields,
        ...{
          objectAlias: rarely(name),
          objectVersion: rarely(selector),
          objectVersionLabel: rarely(selector),
        },
        ...{ failoverObject: rarely(failoverObject), jmesPath: rarely(jmesPath), x: any },
      },
      { requiredKeys: ['objectName'] },
    ),
  );
  const items = fc.array(object, { maxLength: 3 });
  const texts = rarely(fc.constantFrom('', '-', 'False')).map((text) =>
    // String() fails for an object whose toString is not a function.
    typeof text === 'string' ? text : JSON.stringify(text),
  );
  let plans = 0;
  fc.assert(
    fc.property(items, texts, fc.boolean(), (list, pathTranslation, hasFailover) => {
      const { plan: compiled, problems } = plan(JSON.stringify(list), {
        pathTranslation,
        ...(hasFailover && failover),
      });
      expect(compiled === undefined).toBe(problems.some(({ severity }) => severity === 'error'));
      if (compiled === undefined) return;
      plans += 1;
      const filePaths = compiled.files.map(({ path }) => path);
      expect(filePaths.filter((path) => checkFilePath(path) !== undefined)).toEqual([]);
      expect(findPathClash(filePaths)).toBeUndefined();
      expect(new Set(filePaths).size).toBe(filePaths.length);
      for (const file of compiled.files) expect(compiled.refs).toContain(file.sources.value?.ref);
      for (const { region, fallbacks = [] } of compiled.refs) {
        expect(region).toBe('eu-west-1');
        for (const fallback of fallbacks) expect(fallback.region).toBe('us-east-1');
      }
    }),
    { numRuns: 500 },
  );
  expect(plans).toBeGreaterThan(20);
});

test('an ARN with a short account has the number of digits as its remedy', () => {
  const objects = '- objectName: arn:aws:secretsmanager:eu-west-1:12345:secret:a';
  expect(plan(objects).problems[0]?.hint).toContain('12 digits');
});
