import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { checkFilePath } from '../../formats/file-path.ts';
import { checkSecretName, planLocal as planInSteps } from './class.ts';
import { runSteps } from '../../core/steps.ts';

const planLocal = (...args: Parameters<typeof planInSteps>) => runSteps(planInSteps(...args));

const files = (objects: string): unknown =>
  planLocal({ objects }).plan?.files.map(({ path, sources, mode, encoding, optional }) => {
    const { ref, selector } = sources.value!;
    const how = 'text' in selector ? selector.text : selector.kind;
    return [path, `${ref.name}@${ref.version ?? 'latest'}`, how, mode, encoding, optional].filter(
      (field) => field !== undefined,
    );
  });
const problems = (objects: string): string[] =>
  planLocal({ objects }).problems.map(
    ({ severity, message, line, column, hint }) =>
      `${severity} ${line}:${column} ${message}${hint === undefined ? '' : `; ${hint}`}`,
  );

describe('a class for provider local', () => {
  test('names the file after the secret by default', () => {
    expect(files('- objectName: eu/prod/db')).toEqual([
      ['eu/prod/db', 'eu/prod/db@latest', 'whole', 'utf-8'],
    ]);
  });

  test('sets file, version, mode, encoding and optional', () => {
    const objects = `
- objectName: db
  objectAlias: conf/db.json
  objectVersion: v12
  filePermission: "0400"
  encoding: base64
  optional: true`;
    expect(files(objects)).toEqual([['conf/db.json', 'db@v12', 'whole', 0o400, 'base64', true]]);
  });

  test('with jmesPath, writes the whole secret only if it has an objectAlias', () => {
    const selections = `
  jmesPath:
    - {path: db.password, objectAlias: password, filePermission: "0440"}
    - {path: user}`;
    const selected = [
      ['password', 'db@latest', 'db.password', 0o440, 'utf-8'],
      ['user', 'db@latest', 'user', 0o400, 'utf-8'],
    ];
    const object = '- {objectName: db, filePermission: "0400"';
    expect(files(`- objectName: db\n  filePermission: "0400"${selections}`)).toEqual(selected);
    expect(
      files(`- objectName: db\n  filePermission: "0400"\n  objectAlias: all${selections}`),
    ).toEqual([['all', 'db@latest', 'whole', 0o400, 'utf-8'], ...selected]);
    expect(files(`${object}, jmesPath: [{path: k, encoding: hex}]}`)).toEqual([
      ['k', 'db@latest', 'k', 0o400, 'hex'],
    ]);
  });

  test('lists one secret several times; equal versions become one ref', () => {
    const { plan } = planLocal({
      objects: `
- {objectName: db, objectAlias: a}
- {objectName: db, objectAlias: b, objectVersion: latest}
- {objectName: db, objectAlias: c, objectVersion: v1}`,
    });
    expect(plan?.refs).toEqual([
      { service: 'local', name: 'db' },
      { service: 'local', name: 'db', version: 'v1' },
    ]);
    expect(plan?.files.map(({ sources }) => plan.refs.indexOf(sources.value!.ref))).toEqual([
      0, 0, 1,
    ]);
    expect(plan?.login).toEqual({});
  });

  test('reports all problems at once, with their positions', () => {
    expect(
      problems(`- objectName: ../x
  objectVersion: "1"
  filePermission: rw
  optional: perhaps
- objectAlias: a
  jmesPath: [{objectAlias: b}]
- {objectName: ok, objectAlias: ../up}
- {objectName: c, objctAlias: d}
- {objectName: x}
- {objectName: x/y}`),
    ).toEqual([
      expect.stringMatching(/^error 1:15 objectName of item 1 may hold only/),
      'error 2:18 objectVersion of item 1 is unknown: 1; use latest, v1, v2, ...',
      expect.stringMatching(/^error 3:19 filePermission of item 1 is not an octal file mode/),
      expect.stringMatching(/^error 4:\d+ optional of item 1 must be true or false/),
      'error 5:3 item 2 has no objectName; objectName is the name of the secret',
      'error 6:14 item 2, jmesPath item 1 has no path; path is a key of the secret, or JMESPath',
      'warning 8:19 item 4 has an unknown key: objctAlias; did you mean objectAlias?',
      expect.stringMatching(/^error 7:33 the file name \.\.\/up has a/),
      'error 10:16 the file x/y would lie below x, a file itself; give it another name with objectAlias',
    ]);
  });

  test('reports two files with one path', () => {
    expect(
      problems('- {objectName: a, objectAlias: f}\n- {objectName: b, jmesPath: [{path: f}]}'),
    ).toEqual(['error 2:37 the file name f occurs twice; give it another name with objectAlias']);
  });

  test('makes no plan without objects, and warns about other parameters', () => {
    expect(planLocal({ object: '- objectName: a' })).toEqual({
      problems: [
        expect.objectContaining({
          severity: 'error',
          parameter: 'object',
          hint: 'did you mean objects?',
        }),
      ],
    });
    expect(planLocal({ objects: '- objectName: a', owner: 'x' }).plan).toBeDefined();
    expect(problems('[]')[0]).toContain('`objects` is empty');
  });

  test('accepts only names that are safe paths', () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9._/-]{1,12}$/));
    fc.assert(
      fc.property(text, (name) => {
        fc.pre(checkSecretName(name) === undefined);
        expect(checkFilePath(name)).toBeUndefined();
      }),
    );
  });
});
