import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { readClassFile } from './class-file.ts';

const head = [
  'apiVersion: secrets-store.csi.x-k8s.io/v1',
  'kind: SecretProviderClass',
  'metadata: {name: app}',
];

function readOnlyClass(text: string) {
  const { classes, parseErrors } = readClassFile('f.yaml', text);
  expect(parseErrors).toEqual([]);
  expect(classes.length).toBe(1);
  return classes[0]!;
}

function diagnostics(...spec: string[]) {
  const { diagnostics } = readOnlyClass(
    [...head, 'spec:', ...spec.map((line) => `  ${line}`)].join('\n'),
  );
  return diagnostics.map(
    ({ place, message, remedy }) => `${place.line}:${place.column} ${message}; ${remedy}`,
  );
}

describe('finding classes', () => {
  const spec = 'spec: {provider: local, parameters: {objects: x}}';

  test('among documents of other kinds, with the line where each class begins', () => {
    const text = [
      'kind: Pod',
      '---',
      ...head,
      spec,
      '---',
      '',
      ...head,
      'spec: {provider: cce}',
      '---',
      '- a list',
    ].join('\n');
    const { classes } = readClassFile('f.yaml', text);
    expect(classes.map(({ provider, place }) => [provider, place])).toEqual([
      ['local', { file: 'f.yaml', line: 3, column: 1 }],
      ['cce', { file: 'f.yaml', line: 9, column: 1 }],
    ]);
  });

  test('inside a List, as kubectl get prints it', () => {
    const items = [
      'apiVersion: v1',
      'kind: List',
      'items:',
      '- kind: ConfigMap',
      `- ${head.join('\n  ')}\n  ${spec}`,
    ];
    expect(readOnlyClass(items.join('\n'))).toMatchObject({
      name: 'app',
      place: { line: 5, column: 3 },
    });
  });

  test('in JSON', () => {
    const json = {
      apiVersion: 'secrets-store.csi.x-k8s.io/v1',
      kind: 'SecretProviderClass',
      metadata: { name: 'app', namespace: 'ns' },
    };
    const { name, namespace, parameters } = readOnlyClass(
      JSON.stringify({ ...json, spec: { provider: 'p', parameters: { a: '1\n2' } } }, null, 1),
    );
    expect([name, namespace, { ...parameters }]).toEqual(['app', 'ns', { a: '1\n2' }]);
  });

  test('with anchors and merge keys', () => {
    const text = ['kind: Base', 'spec: &spec {provider: local}', '---', ...head].join('\n');
    expect(readOnlyClass(text).provider).toBe('');
    expect(
      readOnlyClass(
        [...head, 'x: &x {a: "1"}', 'spec: {provider: local, parameters: {<<: *x, b: "2"}}'].join(
          '\n',
        ),
      ).parameters,
    ).toEqual(Object.assign(Object.create(null), { a: '1', b: '2' }));
  });

  test.each(['', '# nothing', '---', 'kind: Pod', '[]', '{"kind":"List","items":null}'])(
    '%j has none',
    (text) => {
      expect(readClassFile('f.yaml', text)).toEqual({ classes: [], parseErrors: [] });
    },
  );
});

describe('a malformed document', () => {
  test('is reported with its location, and the others are read', () => {
    const { classes, parseErrors } = readClassFile(
      'f.yaml',
      ['kind: SecretProviderClass', 'a: [1', '---', ...head].join('\n'),
    );
    expect(classes.length).toBe(1);
    expect(parseErrors).toMatchObject([
      {
        severity: 'error',
        place: { file: 'f.yaml', line: 2, column: 4 },
        message: 'not YAML: [ is not closed',
      },
    ]);
  });

  test('of another kind is not parsed', () => {
    const text = ['a: [1', '---', ...head, '---', 'b: "', '---', ...head].join('\n');
    const { classes, parseErrors } = readClassFile('f.yaml', text);
    expect(parseErrors).toEqual([]);
    expect(classes.map(({ place }) => place.line)).toEqual([3, 9]);
  });

  test('with a key that occurs twice is reported with both lines, and the class is read', () => {
    const text = ['kind: Pod', '---', ...head, 'kind: SecretProviderClass'].join('\n');
    expect(readClassFile('f.yaml', text)).toMatchObject({
      classes: [{ name: 'app' }],
      parseErrors: [
        {
          place: { line: 6 },
          message: 'not YAML: the key kind occurs twice, first in line 4',
          remedy: 'remove one of them',
        },
      ],
    });
  });

  test('that is a template is reported as a template', () => {
    const { parseErrors } = readClassFile(
      'f.yaml',
      'kind: SecretProviderClass\na: {{ .Values.a }}\nb: {{- x }}: y',
    );
    expect(parseErrors[0]?.remedy).toMatch(/template: render it first/);
  });

  test('with a map for a key is read without a warning of the library', () => {
    const warn = jest.spyOn(process, 'emitWarning').mockReturnValue();
    readOnlyClass([...head.slice(0, 2), 'metadata:', '  name: {{ .Release.Name }}'].join('\n'));
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  test('with an alias without an anchor is rejected at the alias', () => {
    const text = [...head, 'spec: {provider: *name}'].join('\n');
    expect(readClassFile('f.yaml', text)).toMatchObject({
      classes: [],
      parseErrors: [
        {
          place: { line: 4, column: 18 },
          message: 'not YAML: the alias name has no anchor before it',
        },
      ],
    });
  });

  test('with aliases that expand to too much is rejected', () => {
    const level = (name: string, of: string) =>
      `${name}: &${name} [${Array(9).fill(`*${of}`).join(',')}]`;
    const bomb = [
      ...head,
      'a: &a [x]',
      level('b', 'a'),
      level('c', 'b'),
      level('d', 'c'),
      level('e', 'd'),
      level('f', 'e'),
      level('g', 'f'),
      level('h', 'g'),
    ].join('\n');
    expect(readClassFile('f.yaml', bomb)).toMatchObject({
      classes: [],
      parseErrors: [{ message: 'not YAML: the aliases expand to more than 1 MiB' }],
    });
  });
});

describe('diagnostics about what the API server or the driver would reject', () => {
  test('a valid class has none', () => {
    expect(
      diagnostics('provider: p', 'parameters: {a: "true", b: text, c: "1"}', 'secretObjects: []'),
    ).toEqual([]);
  });

  test('missing and misspelt fields', () => {
    expect(diagnostics('paramters: {}')).toEqual([
      '5:14 spec has no field "paramters"; did you mean parameters?',
      '5:3 spec.provider is missing; name the provider; of a kustomize patch, check what kustomize build prints',
    ]);
    expect(
      readClassFile('f', 'kind: SecretProviderClass').classes[0]?.diagnostics.map(
        ({ message }) => message,
      ),
    ).toEqual([
      'apiVersion is not that of a SecretProviderClass',
      'metadata.name is missing',
      'spec.provider is missing',
    ]);
  });

  test.each([
    ['true', 'a boolean', 'put it in quotes', 'true'],
    ['012', 'a number', 'put it in quotes', '012'],
    ['1_000', 'a number', 'put it in quotes', '1_000'],
    ['.inf', 'a number', 'put it in quotes', '.inf'],
    ['yes', 'a boolean', 'put it in quotes', 'yes'],
    ['', 'empty', 'give it a value, or remove it', ''],
    ['null', 'empty', 'give it a value, or remove it', 'null'],
    ['[a]', 'a list', 'write it as a block of text: p: |', undefined],
    ['{a: b}', 'a map', 'write it as a block of text: p: |', undefined],
  ])('a parameter `%s`, which is %s', (value, kind, remedy, kept) => {
    const text = [...head, 'spec:', '  provider: x', '  parameters:', `    p: ${value}`].join('\n');
    const { parameters, diagnostics } = readOnlyClass(text);
    expect(diagnostics).toMatchObject([
      { place: { line: 7 }, message: `parameter "p" is ${kind}, and must be text`, remedy },
    ]);
    expect(parameters.p).toBe(kept);
  });

  test.each([
    ['/v2', 'error', 'apiVersion is not that of a SecretProviderClass'],
    ['/v1beta1', 'error', 'apiVersion is not that of a SecretProviderClass'],
    ['/v1alpha1', 'hint', 'apiVersion secrets-store.csi.x-k8s.io/v1alpha1 is deprecated'],
  ])('the API version %s: %s', (version, severity, message) => {
    const text = [head[0]!.replace('/v1', version), ...head.slice(1), 'spec: {provider: p}'];
    expect(readOnlyClass(text.join('\n')).diagnostics).toMatchObject([
      { severity, message, remedy: 'write secrets-store.csi.x-k8s.io/v1', place: { line: 1 } },
    ]);
  });

  test.each([
    ['{name: App}', 'metadata.name is not a name that Kubernetes allows: App'],
    ['{name: a_b}', 'metadata.name is not a name that Kubernetes allows: a_b'],
    ['{name: 123}', 'metadata.name is a number, and must be text'],
    ['{name: a, namespace: a.b}', 'metadata.namespace is not a name that Kubernetes allows: a.b'],
    ['{name: a, namespace: on}', 'metadata.namespace is a boolean, and must be text'],
    ['{namespace: a}', 'metadata.name is missing'],
  ])('the metadata %s', (metadata, message) => {
    const text = [...head.slice(0, 2), `metadata: ${metadata}`, 'spec: {provider: p}'].join('\n');
    expect(readOnlyClass(text).diagnostics).toMatchObject([{ message, place: { line: 3 } }]);
  });

  test.each(['{name: a.b-1, namespace: shop-1}', '{generateName: app-}'])(
    'nothing about the metadata %s',
    (metadata) => {
      const text = [...head.slice(0, 2), `metadata: ${metadata}`, 'spec: {provider: p}'];
      expect(readOnlyClass(text.join('\n')).diagnostics).toEqual([]);
    },
  );

  test('a provider that is not text', () => {
    expect(diagnostics('provider: true')).toEqual([
      '5:13 spec.provider is a boolean, and must be text; put it in quotes',
    ]);
  });

  test('parameters under spec, as one error, which the provider can still check', () => {
    const spec = ['provider: p', 'region: r', 'objects: |', '  - a', 'parameters: {x: z}'];
    expect(diagnostics(...spec)).toEqual([
      '6:11 spec has no fields "region", "objects"; move them under spec.parameters, if the provider is to read them',
    ]);
    const found = readOnlyClass([...head, 'spec:', ...spec.map((e) => `  ${e}`)].join('\n'));
    expect({ ...found.parameters }).toEqual({ region: 'r', objects: '- a\n', x: 'z' });
    expect(found.locationOf('objects', 1, 3)).toMatchObject({ line: 8, column: 7, exact: true });
  });

  test('a misspelt field of spec, as one error, which counts as the right one', () => {
    const spec = ['Provider: p', 'parameter: {region: r}'];
    expect(diagnostics(...spec)).toEqual([
      '5:13 spec has no field "Provider"; did you mean provider?',
      '6:14 spec has no field "parameter"; did you mean parameters?',
    ]);
    const found = readOnlyClass([...head, 'spec:', ...spec.map((e) => `  ${e}`)].join('\n'));
    expect(found).toMatchObject({ provider: 'p', parameters: { region: 'r' } });
  });

  test('fields of spec beside it, as one error', () => {
    const found = readOnlyClass([...head, 'provider: p', 'parameters: {region: r}'].join('\n'));
    expect(found).toMatchObject({ provider: 'p', parameters: { region: 'r' } });
    expect(found.diagnostics).toMatchObject([
      { message: '"provider", "parameters" are beside spec', remedy: 'move them under spec' },
    ]);
  });

  test.each([
    ['[{region: r}]', 'a list'],
    ['"region: r"', 'text'],
  ])('parameters that are no map: %s', (value, kind) => {
    expect(diagnostics('provider: p', `parameters: ${value}`)).toEqual([
      `6:15 spec.parameters is ${kind}, and must be a map; write each parameter as name: "value"`,
    ]);
  });

  test('an expression of a template without quotes', () => {
    expect(diagnostics('provider: p', 'parameters:', '  region: {{ .Values.region }}')).toEqual([
      '7:13 parameter "region" is a map, and must be text; it looks like a template: render it first, with helm template for example',
    ]);
  });

  test('objects as a list under spec, as one error', () => {
    expect(diagnostics('provider: p', 'objects: [a]')).toEqual([
      '6:12 spec has no field "objects"; move it under spec.parameters, if the provider is to read it',
    ]);
  });

  test.each([
    '[{secretName: s, type: Opaque, data: [{objectName: f, key: k}]}]',
    '"- secretName: s"',
  ])('secretObjects under parameters, as one error: %s', (value) => {
    const spec = ['provider: p', 'parameters:', `  secretObjects: ${value}`];
    expect(diagnostics(...spec)).toEqual([
      '7:20 `secretObjects` is under spec.parameters; it belongs under spec, beside parameters',
    ]);
    const found = readOnlyClass([...head, 'spec:', ...spec.map((e) => `  ${e}`)].join('\n'));
    expect(found.parameters).toEqual(Object.create(null));
  });

  test('the key __proto__ is an ordinary parameter', () => {
    const { parameters } = readOnlyClass(
      [...head, 'spec: {provider: p, parameters: {__proto__: text}}'].join('\n'),
    );
    expect(Object.keys(parameters)).toEqual(['__proto__']);
  });
});

describe('the location of a problem in a parameter', () => {
  const header = [...head, 'spec:', '  provider: p', '  parameters:'];

  test('is exact in a literal block with any indentation', () => {
    const found = readOnlyClass(
      [...header, '    objects: |2-  # why not', '', '      - a: 1', '        b: 2'].join('\r\n'),
    );
    expect(found.parameters.objects).toBe('\n- a: 1\n  b: 2');
    expect(found.locationOf('objects', 3, 3)).toEqual({
      file: 'f.yaml',
      line: 10,
      column: 9,
      exact: true,
    });
  });

  test('is the beginning of the parameter in quoted text', () => {
    const found = readOnlyClass([...header, String.raw`    objects: "- a: 1\n  b: 2"`].join('\n'));
    expect(found.locationOf('objects', 2, 3)).toEqual({
      file: 'f.yaml',
      line: 7,
      column: 14,
      exact: false,
    });
    expect(found.locationOf('objects')).toMatchObject({ line: 7, exact: true });
  });

  test('is that of the parameters, or of the class, if the parameter is missing', () => {
    expect(readOnlyClass([...header, '    a: b'].join('\n')).locationOf('objects')).toMatchObject({
      line: 7,
      column: 5,
    });
    expect(readOnlyClass(head.join('\n')).locationOf('objects')).toMatchObject({
      line: 1,
      column: 1,
    });
  });

  test('is the exact character in any block', () => {
    const line = fc
      .string({ unit: fc.constantFrom('a', ' ', '-', ':', '#', '键', '"') })
      .map((rest) => `  -${rest}`);
    fc.assert(
      fc.property(
        fc.array(line, { minLength: 1, maxLength: 6 }),
        fc.nat(),
        fc.nat(),
        (lines, row, column) => {
          const block = lines.map((text) => `      ${text}`);
          const file = [
            ...header,
            '    before: x',
            '    objects: |2+',
            ...block,
            '    after: y',
            '',
          ].join('\n');
          const found = readOnlyClass(file);
          expect(found.parameters.objects).toBe(`${lines.join('\n')}\n`);
          row %= lines.length;
          column %= lines[row]!.length + 1;
          const place = found.locationOf('objects', row + 1, column + 1);
          expect(place.exact).toBe(true);
          expect(file.split('\n')[place.line - 1]!.slice(place.column - 1)).toBe(
            lines[row]!.slice(column),
          );
        },
      ),
    );
  });
});
