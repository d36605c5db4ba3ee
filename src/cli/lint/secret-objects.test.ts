import { describe, expect, test } from '@jest/globals';
import { readClassFile } from './class-file.ts';

/** The problems of a class with these items of `secretObjects`, and the files that they name. */
function check(...items: string[]) {
  const text = [
    'apiVersion: secrets-store.csi.x-k8s.io/v1',
    'kind: SecretProviderClass',
    'metadata: {name: app}',
    'spec:',
    '  provider: p',
    '  parameters: {objects: x}',
    '  secretObjects:',
    ...items.map((item) => `  - ${item}`),
  ].join('\n');
  const { classes, parseErrors } = readClassFile('f.yaml', text);
  expect(parseErrors).toEqual([]);
  const { diagnostics, syncDiagnostics, syncedFiles } = classes[0]!;
  expect(diagnostics).toEqual([]);
  return {
    problems: syncDiagnostics.map(({ message }) => message),
    remedies: syncDiagnostics.map(({ remedy }) => remedy),
    places: syncDiagnostics.map(({ place }) => place.line),
    files: syncedFiles.map(({ objectName }) => objectName),
  };
}

const problems = (...items: string[]) => check(...items).problems;
const data = 'data: [{objectName: a, key: a}]';
const secret = (type: string, ...keys: string[]) =>
  `{secretName: s, type: ${type}, data: [${keys.map((key) => `{objectName: f, key: ${key}}`).join(', ')}]}`;

describe('secretObjects that the driver and the API server accept', () => {
  test.each([
    `{secretName: s.example.com, type: Opaque, ${data}}`,
    `{secretName: " s ", type: example.com/mine, data: [{objectName: " a ", key: " a "}]}`,
    `{secretName: s, type: Opaque, ${data}, labels: {example.com/app: web, tier: ""}, annotations: {Note: "any text\\n"}}`,
    secret('Opaque', 'a', '.b', 'c_d-e.F'),
    secret('kubernetes.io/tls', 'tls.crt', 'tls.key'),
    secret('kubernetes.io/basic-auth', 'password', 'other'),
    secret('kubernetes.io/ssh-auth', 'ssh-privatekey'),
    secret('kubernetes.io/dockerconfigjson', '.dockerconfigjson'),
    secret('kubernetes.io/dockercfg', '.dockercfg'),
    `{secretName: s, type: kubernetes.io/service-account-token, ${data}, annotations: {kubernetes.io/service-account.name: web}}`,
  ])('%s', (item) => {
    expect(problems(item)).toEqual([]);
  });
});

describe('secretObjects that no Secret is made of', () => {
  test('without a name, a type or data: one error each', () => {
    const { problems, remedies, places, files } = check(
      `{secretName: s1, ${data}}`,
      '{secretName: s2, type: Opaque, data: []}',
      '{secretName: s3, type: Opaque}',
      `{type: Opaque, ${data}}`,
      `{secretName: " ", type: "", ${data}}`,
    );
    expect(problems).toEqual([
      'the Secret s1 has no type',
      'the Secret s2 has no data',
      'the Secret s3 has no data',
      'item 4 of secretObjects has no secretName',
      'item 5 of secretObjects has no secretName',
      'item 5 of secretObjects has no type',
    ]);
    expect(remedies[0]).toBe('write type: Opaque');
    expect(places).toEqual([8, 9, 10, 11, 12, 12]);
    expect(files).toEqual(['a', 'a', 'a']);
  });

  test('with entries without objectName or key', () => {
    expect(
      problems('{secretName: s, type: Opaque, data: [{objectName: a}, {key: k}, {key: " "}]}'),
    ).toEqual([
      'entry 1 of the Secret s has no key',
      'entry 2 of the Secret s has no objectName',
      'entry 3 of the Secret s has no objectName',
      'entry 3 of the Secret s has no key',
    ]);
  });

  test.each([
    ['kubernetes.io/dockerconfigjson', 'config.json', '.dockerconfigjson'],
    ['kubernetes.io/dockercfg', 'config.json', '.dockercfg'],
    ['kubernetes.io/basic-auth', 'user', 'username or password'],
    ['kubernetes.io/ssh-auth', 'id_rsa', 'ssh-privatekey'],
    ['kubernetes.io/tls', 'tls.crt', 'tls.key'],
  ])('of the type %s without a key that it requires', (type, key, required) => {
    expect(problems(secret(type, key))).toEqual([
      `the Secret s has the type ${type}, but no key ${required}`,
    ]);
  });

  test('of the type kubernetes.io/tls with another key, which the driver refuses', () => {
    expect(problems(secret('kubernetes.io/tls', 'tls.crt', 'tls.key', 'ca.crt'))).toEqual([
      'the Secret s has the type kubernetes.io/tls and the key ca.crt, which the driver refuses',
    ]);
  });

  test('of the type kubernetes.io/tls with a key in place of a required one: one error', () => {
    expect(problems(secret('kubernetes.io/tls', 'cert', 'tls.key'))).toEqual([
      'the Secret s has the type kubernetes.io/tls and the key cert, which the driver refuses',
    ]);
  });

  test('with stringData in place of data: one error', () => {
    const { problems, remedies } = check('{secretName: s, type: Opaque, stringData: {a: b}}');
    expect(problems).toEqual(['the Secret s has no field "stringData"']);
    expect(remedies).toEqual(['did you mean data?']);
  });

  test('of a service account token without the account', () => {
    expect(problems(`{secretName: s, type: kubernetes.io/service-account-token, ${data}}`)).toEqual(
      [
        'the Secret s has the type kubernetes.io/service-account-token, but no annotation kubernetes.io/service-account.name',
      ],
    );
  });

  test.each(['S', 'a_b', '-a', 'a.', 'a..b', 'a'.repeat(254)])('with the name %s', (name) => {
    expect(problems(`{secretName: ${name}, type: Opaque, ${data}}`)).toEqual([
      expect.stringContaining('has a name that Kubernetes refuses'),
    ]);
  });

  test.each(['a/b', '..a', '"."', 'é', '"a b"', 'a'.repeat(254)])('with the key %s', (key) => {
    expect(problems(secret('Opaque', key))).toEqual([
      expect.stringContaining('the Secret s has a key that Kubernetes refuses: '),
    ]);
  });

  test('with labels and annotations that Kubernetes refuses', () => {
    const metadata = [
      'labels: {a/b/c: x, _a: x, ok: "a b", number: 1}',
      'annotations: {/a: x, Exa_mple/a: x, flag: yes}',
    ].join(', ');
    expect(problems(`{secretName: s, type: Opaque, ${data}, ${metadata}}`)).toEqual([
      'number in labels of the Secret s is a number, and must be text',
      'a/b/c in labels of the Secret s is not a key that Kubernetes allows',
      '_a in labels of the Secret s is not a key that Kubernetes allows',
      'ok in labels of the Secret s has a value that Kubernetes refuses',
      'flag in annotations of the Secret s is a boolean, and must be text',
      '/a in annotations of the Secret s is not a key that Kubernetes allows',
      'Exa_mple/a in annotations of the Secret s is not a key that Kubernetes allows',
    ]);
    const long = `annotations: {a: ${'x'.repeat(262_144)}}`;
    expect(problems(`{secretName: s, type: Opaque, ${data}, ${long}}`)).toEqual([
      'the annotations of the Secret s have more than 256 KiB',
    ]);
  });

  test('of wrong types', () => {
    expect(
      problems(
        'text',
        `{secretName: 1, type: true, ${data}, labels: [a]}`,
        '{secretName: s, type: Opaque, data: {a: b}}',
        '{secretName: t, type: Opaque, data: [a]}',
      ),
    ).toEqual([
      'an item of secretObjects must be a map',
      'secretName of item 1 of secretObjects is a number, and must be text',
      'type of item 1 of secretObjects is a boolean, and must be text',
      'labels of item 1 of secretObjects must be a map',
      'data of the Secret s must be a list',
      'an item of data of the Secret t must be a map',
    ]);
  });
});

test('a Secret or a key that replaces another one is an error', () => {
  expect(
    problems(`{secretName: s, type: Opaque, ${data}}`, secret('Opaque', 'b', 'c', 'b')),
  ).toEqual([
    'secretObjects has the Secret s twice, first in line 8',
    'the Secret s has the key b twice, first in line 9',
  ]);
});

test('a misspelt field is one error', () => {
  const { problems, remedies } = check(
    '{secretname: s, type: Opaque, data: [{objectname: a, key: b, mode: x}]}',
  );
  expect(problems).toEqual([
    'item 1 of secretObjects has no field "secretname"',
    'entry 1 of item 1 of secretObjects has no field "objectname"',
    'entry 1 of item 1 of secretObjects has no field "mode"',
  ]);
  expect(remedies).toEqual([
    'did you mean secretName?',
    'did you mean objectName?',
    'fields are objectName, key',
  ]);
});
