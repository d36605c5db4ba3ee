import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import type { FileRequest, Problem } from '../../core/plan.ts';
import type { Planner } from './check-class.ts';
import { lintCommand } from './command.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-lint-'));
});
afterEach(() => rm(dir, { recursive: true }));

/**
 * A provider whose objects are lines `PATH`, `PATH MODE` or `error TEXT`, `warning TEXT`,
 * `hint TEXT`. An `error twice` clashes with the first line.
 */
const planner: Planner = {
  name: 'lines',
  // eslint-disable-next-line require-yield -- it has one step
  *plan(parameters) {
    const ref = { service: 'local', name: 'x' };
    const problems: Problem[] = [];
    const files: FileRequest[] = [];
    (parameters.objects ?? '').split('\n').forEach((line, index) => {
      const [first = '', second = ''] = line.split(' ', 2);
      const rest = line.slice(first.length + 1);
      if (first === 'error' || first === 'warning' || first === 'hint')
        problems.push({
          ...{ severity: first, code: 'INVALID_CLASS', message: rest, hint: 'fix it' },
          ...{ parameter: 'objects', line: index + 1, column: 1 },
          ...(rest === 'twice' && { firstLine: 1 }),
        });
      else if (first !== '')
        files.push({
          ...{
            path: first,
            sources: { value: { ref, selector: { kind: 'whole' } } },
            encoding: 'utf-8',
          },
          ...(second !== '' && { mode: parseInt(second, 8) }),
        });
    });
    const skipped = parameters.region === undefined ? ['the region, which the node knows'] : [];
    if (problems.some(({ severity }) => severity === 'error')) return { problems, skipped };
    return { plan: { refs: [ref], files, login: undefined }, problems, skipped };
  },
};

async function lint(names: string[], { format = 'text', stdin = '', isTTY = false } = {}) {
  let output = '';
  let notices = '';
  let exitCode = -1;
  const command = lintCommand({
    providers: () => Promise.resolve([planner]),
    stdin: Object.assign(Readable.from([Buffer.from(stdin)]), { isTTY }),
    env: {},
    stderr: { write: (text) => (notices += text) },
    stdout: { write: (text) => (output += text), isTTY },
    setExitCode: (code) => (exitCode = code),
  });
  await command.exitOverride().parseAsync(['--format', format, ...names], { from: 'user' });
  return {
    exitCode,
    output,
    notices,
    lines: output.replaceAll(`${dir}/`, '').trimEnd().split('\n'),
  };
}

async function file(name: string, text: string | Buffer): Promise<string> {
  await writeFile(join(dir, name), text);
  return join(dir, name);
}

function spc(objects: string[], ...rest: string[]): string {
  return [
    'apiVersion: secrets-store.csi.x-k8s.io/v1',
    'kind: SecretProviderClass',
    'metadata: {name: app}',
    'spec:',
    '  provider: lines',
    ...rest.map((line) => `  ${line}`),
    '  parameters:',
    '    region: r',
    '    objects: |',
    ...objects.map((line) => `      ${line}`),
    '',
  ].join('\n');
}

describe('lint reports', () => {
  test('nothing in a valid class', async () => {
    const { exitCode, lines } = await lint([await file('a.yaml', spc(['f', 'g 0644']))]);
    expect({ exitCode, lines }).toEqual({
      exitCode: 0,
      lines: ['1 class in 1 file: 0 errors, 0 hints'],
    });
  });

  test('all problems of the plan, including warnings, with their lines and remedies', async () => {
    const { exitCode, lines } = await lint([
      await file('a.yaml', spc(['f', 'warning unknown key', 'error no name'])),
    ]);
    expect(exitCode).toBe(1);
    expect(lines).toEqual([
      'a.yaml:10:7: error: class app: unknown key [INVALID_CLASS]',
      '    fix it',
      'a.yaml:11:7: error: class app: no name [INVALID_CLASS]',
      '    fix it',
      '1 class in 1 file: 2 errors, 0 hints',
    ]);
  });

  test('a hint of the plan as a hint', async () => {
    const { exitCode, lines } = await lint([await file('a.yaml', spc(['f', 'hint maybe']))]);
    expect(exitCode).toBe(0);
    expect(lines[0]).toBe('a.yaml:10:7: hint: class app: maybe');
  });

  test('lines of the file, also of the first of two things that clash', async () => {
    const { lines } = await lint([await file('a.yaml', spc(['f', 'g', 'error twice']))]);
    expect(lines[0]).toBe('a.yaml:11:7: error: class app: twice, first in line 9 [INVALID_CLASS]');
  });

  test('the line in the parameter if the file does not show the text line by line', async () => {
    const quoted = spc([]).replace('objects: |', String.raw`objects: "f\nerror no name"`);
    expect((await lint([await file('a.yaml', quoted)])).lines[0]).toBe(
      'a.yaml:8:14: error: class app: no name (line 2 of parameter "objects") [INVALID_CLASS]',
    );
  });

  test('one error of each parameter that is a template', async () => {
    const { lines } = await lint([await file('a.yaml', spc(['error {{ a }}', 'error {{ b }}']))]);
    expect(lines).toEqual([
      'a.yaml:9:7: error: class app: {{ a }} [INVALID_CLASS]',
      '    it looks like a template: render it first, with helm template for example',
      '1 class in 1 file: 1 error, 0 hints',
    ]);
  });

  test('nothing of the provider about a class without a map of parameters', async () => {
    const text = spc([]).replace(/parameters:.*/s, 'parameters: []');
    expect((await lint([await file('a.yaml', text)])).output).toMatch(/1 error/);
  });

  test('an unknown provider that is near a known one', async () => {
    const { exitCode, lines } = await lint([
      await file('a.yaml', spc(['f']).replace('lines', 'line')),
    ]);
    expect(exitCode).toBe(1);
    expect(lines).toEqual([
      'a.yaml:5:13: error: class app: no provider "line" [INVALID_CLASS]',
      '    did you mean lines?',
      '1 class in 1 file: 1 error, 0 hints',
    ]);
  });

  test('secretObjects that name no file of the class', async () => {
    const synced = ['secretObjects:', '- secretName: s', '  type: Opaque', '  data:'];
    const names = ['f', 'tls.cert', 'login'].map((n, i) => `  - {key: k${i}, objectName: ${n}}`);
    const { exitCode, lines } = await lint([
      await file('a.yaml', spc(['f', 'tls.crt'], ...synced, ...names)),
    ]);
    expect(exitCode).toBe(1);
    expect(lines).toEqual([
      'a.yaml:11:29: error: class app: secretObjects names the file "tls.cert", which this class does not make [INVALID_CLASS]',
      '    did you mean tls.crt?',
      'a.yaml:12:29: error: class app: secretObjects names the file "login", which this class does not make [INVALID_CLASS]',
      '    it makes f, tls.crt',
      '1 class in 1 file: 2 errors, 0 hints',
    ]);
  });

  test('a hint for files that a container without root cannot read', async () => {
    const { exitCode, lines } = await lint([
      await file('a.yaml', spc(['f 0400', 'g 0640', 'h 0444'])),
    ]);
    expect(exitCode).toBe(0);
    expect(lines.filter((line) => line.includes(': hint: '))).toEqual([
      'a.yaml:8:14: hint: class app: file "f" has mode 0400 and belongs to root: a container that does not run as root cannot read it',
      'a.yaml:8:14: hint: class app: file "g" has mode 0640 and belongs to root: a container that does not run as root cannot read it',
    ]);
  });

  test('the checks that it skipped', async () => {
    const text = spc(
      ['error no name'],
      'secretObjects: [{secretName: s, type: Opaque, data: [{objectName: f, key: k}]}]',
    ).replace('    region: r\n', '');
    expect((await lint([await file('a.yaml', text)])).lines.slice(-3)).toEqual([
      'a.yaml: class app: not checked here: the region, which the node knows',
      'a.yaml: class app: not checked here: the file names in secretObjects',
      '1 class in 1 file: 1 error, 0 hints, 2 checks left out',
    ]);
  });

  test('what the API server would reject, together with other problems', async () => {
    const { lines } = await lint([
      await file('a.yaml', spc(['error no name']).replace('region: r', 'region: true')),
    ]);
    expect(lines.filter((line) => line.includes(': error: ')).length).toBe(2);
  });
});

describe('lint leaves out and counts', () => {
  const foreign = spc(['array:']).replace('lines', 'azure');
  const patch = [
    'apiVersion: secrets-store.csi.x-k8s.io/v1',
    'kind: SecretProviderClass',
    'metadata: {name: app}',
    'spec: {parameters: {region: r}}',
  ].join('\n');

  test('classes of providers of other vendors, and patches of kustomize', async () => {
    const { exitCode, lines } = await lint([
      await file('a.yaml', [foreign, foreign, spc(['f']), patch].join('\n---\n')),
    ]);
    expect(exitCode).toBe(0);
    expect(lines).toEqual([
      '1 class in 1 file: 0 errors, 0 hints; left out: 2 (provider azure), 1 (kustomize patch)',
    ]);
  });

  test('all classes of the input', async () => {
    const { exitCode, lines } = await lint([await file('a.yaml', foreign)]);
    expect(exitCode).toBe(0);
    expect(lines).toEqual(['0 classes in 1 file: 0 errors, 0 hints; left out: 1 (provider azure)']);
  });

  test('with the place of each in JSON', async () => {
    const path = await file('a.yaml', foreign.replace('name: app', 'name: app, namespace: shop'));
    const { output } = await lint([path], { format: 'json' });
    const place = { file: path, line: 1, column: 1, class: 'app', namespace: 'shop' };
    expect(JSON.parse(output)).toMatchObject({
      summary: { classes: 0, leftOut: 1 },
      leftOut: [{ ...place, reason: 'provider azure' }],
    });
  });

  test.each([
    ['kustomization.yaml', 'patches: [{path: a.yaml}]'],
    ['Kustomization', 'patches:\n- target: {kind: Pod}\n  path: ./a.yaml'],
    ['kustomization.yml', 'patchesStrategicMerge: [b.yaml, a.yaml]'],
  ])('patches of objects that a %s lists', async (name, text) => {
    await file(name, text);
    const patch = spc(['f']).replace('  provider: lines\n', '');
    const { exitCode, lines } = await lint([await file('a.yaml', patch)]);
    expect(exitCode).toBe(0);
    expect(lines).toEqual([
      '0 classes in 1 file: 0 errors, 0 hints; left out: 1 (kustomize patch)',
    ]);
  });

  test('but no class that forgets its provider', async () => {
    await file('kustomization.yaml', 'resources: [a.yaml]\npatches: [{path: sub/a.yaml}]');
    const { exitCode, lines } = await lint([
      await file('a.yaml', spc(['f']).replace('  provider: lines\n', '')),
    ]);
    expect(exitCode).toBe(1);
    expect(lines[0]).toBe('a.yaml:5:3: error: class app: spec.provider is missing [INVALID_CLASS]');
  });
});

describe('every finding has the namespace', () => {
  const text = spc(['error no name'])
    .replace('name: app', 'name: app, namespace: shop')
    .replace('    region: r\n', '');

  test('as text', async () => {
    expect((await lint([await file('a.yaml', text)])).lines.slice(0, 3)).toEqual([
      'a.yaml:8:7: error: class shop/app: no name [INVALID_CLASS]',
      '    fix it',
      'a.yaml: class shop/app: not checked here: the region, which the node knows',
    ]);
  });

  test('as JSON', async () => {
    const { output } = await lint([await file('a.yaml', text)], { format: 'json' });
    expect(JSON.parse(output)).toMatchObject({
      problems: [{ class: 'app', namespace: 'shop' }],
      skipped: [{ class: 'app', namespace: 'shop' }],
    });
  });

  test('for GitHub', async () => {
    const { output } = await lint([await file('a.yaml', text)], { format: 'github' });
    expect(output).toMatch(/title=keyferry INVALID_CLASS shop\/app::no name/);
  });
});

describe('lint reads', () => {
  test('files that -f names, before or after others', async () => {
    const [a, b, c] = await Promise.all(
      ['a.yaml', 'b.yaml', 'c.yaml'].map((name) => file(name, spc(['error here']))),
    );
    const { lines } = await lint([a!, '-f', b!, '-f', c!]);
    expect(lines.filter((line) => line.includes('error:')).map((line) => line[0])).toEqual([
      'a',
      'b',
      'c',
    ]);
  });

  test('standard input', async () => {
    expect((await lint(['-'], { stdin: spc(['error no name']) })).lines[0]).toMatch(
      /^<stdin>:9:7: error: class app: no name/,
    );
  });

  test('directories: manifests that mention a class, except in hidden directories', async () => {
    for (const name of ['sub', '.git', 'node_modules']) {
      await mkdir(join(dir, name));
      await file(`${name}/x.yml`, spc(['error here']));
    }
    await file('chart.yaml', '{{ if not a manifest }}');
    await file('tsconfig.json', '{ // no JSON');
    await file('README.md', spc(['error here']));
    expect((await lint([dir])).lines.filter((line) => line.includes('error:'))).toEqual([
      'sub/x.yml:9:7: error: class app: here [INVALID_CLASS]',
    ]);
  });

  test('UTF-16 with a byte order mark, and file names in any letter case', async () => {
    const text = Buffer.from(`\ufeff${spc(['error no name'])}`, 'utf16le');
    await file('a.YAML', text);
    await file('b.Yml', Buffer.from(text).swap16());
    expect((await lint([dir])).lines.filter((line) => line.includes('error:'))).toEqual([
      'a.YAML:9:7: error: class app: no name [INVALID_CLASS]',
      'b.Yml:9:7: error: class app: no name [INVALID_CLASS]',
    ]);
  });

  test.each([
    ['is not valid UTF-8', Buffer.from(spc(['f \xff']), 'latin1'), 9],
    ['has NUL characters, as UTF-16 without', Buffer.from(spc(['f']), 'utf16le'), 1],
    [
      'is not valid UTF-16LE',
      Buffer.concat([Buffer.from(`\ufeff${spc(['f'])}`, 'utf16le'), Buffer.from([0, 0xd8])]),
      10,
    ],
  ])('a file that %s: exit code 2', async (problem, bytes, line) => {
    await file('a.yaml', bytes);
    for (const input of [join(dir, 'a.yaml'), dir]) {
      const { exitCode, lines } = await lint([input]);
      expect(exitCode).toBe(2);
      expect(lines[0]).toContain(`a.yaml:${line}:1: error: cannot be read: it ${problem}`);
      expect(lines[1]).toBe('    save it as UTF-8');
    }
  });

  test('nothing of a large file of other kinds', async () => {
    // As YAML it would be an error, and take a minute.
    const path = await file('crds.yaml', Buffer.alloc(60_000_000, 'a: [b\n'));
    const { exitCode, lines } = await lint([path, await file('a.yaml', spc(['f']))]);
    expect({ exitCode, lines }).toEqual({
      exitCode: 0,
      lines: ['1 class in 2 files: 0 errors, 0 hints'],
    });
  });

  test('the other files of a directory if one cannot be read; no FIFO', async () => {
    await symlink(join(dir, 'nowhere'), join(dir, 'a.yaml'));
    await promisify(execFile)('mkfifo', [join(dir, 'b.yaml')]);
    await file('c.yaml', spc(['error no name']));
    await symlink(join(dir, 'c.yaml'), join(dir, 'd.yaml'));
    expect((await lint([dir])).lines.filter((line) => line.includes('error:'))).toEqual([
      'a.yaml:1:1: error: cannot be read: no such file',
      'c.yaml:9:7: error: class app: no name [INVALID_CLASS]',
      'd.yaml:9:7: error: class app: no name [INVALID_CLASS]',
    ]);
  });

  test('a terminal and a FIFO, and says that it waits', async () => {
    const terminal = await lint(['-'], { stdin: spc(['f']), isTTY: true });
    expect(terminal.notices).toBe(
      'keyferry: waiting for standard input, a terminal; end it with ^D\n',
    );
    const fifo = join(dir, 'fifo');
    await promisify(execFile)('mkfifo', [fifo]);
    const [{ exitCode, notices }] = await Promise.all([lint([fifo]), writeFile(fifo, spc(['f']))]);
    expect(notices).toBe(`keyferry: waiting for ${fifo}, which is no file\n`);
    expect(exitCode).toBe(0);
    expect((await lint(['-'], { stdin: spc(['f']) })).notices).toBe('');
  });

  test.each([
    ['a missing file', []],
    ['text that is not YAML', ['broken.yaml']],
    ['no class', ['other.yaml']],
  ])('%s: exit code 2 in any case', async (_, names) => {
    const fine = await file('fine.yaml', spc(['f']));
    await file('broken.yaml', 'kind: SecretProviderClass\nx: [');
    await file('other.yaml', 'kind: Pod');
    const paths =
      names.length === 0 ? [join(dir, 'absent.yaml')] : names.map((name) => join(dir, name));
    expect((await lint(paths)).exitCode).toBe(2);
    if (names[0] !== 'other.yaml') expect((await lint([fine, ...paths])).exitCode).toBe(2);
  });

  test('the other files if one is missing', async () => {
    const { lines } = await lint([
      join(dir, 'absent'),
      await file('a.yaml', spc(['error no name'])),
    ]);
    expect(lines[0]).toBe('absent:1:1: error: cannot be read: no such file');
    expect(lines[2]).toBe('a.yaml:9:7: error: class app: no name [INVALID_CLASS]');
  });
});

describe('lint on a terminal', () => {
  test('shows places, errors and hints in styles, but escapes those of a class', async () => {
    const text = spc(['error \u001b[32mgreen', 'f 0400']);
    const { lines } = await lint([await file('a.yaml', text)], { isTTY: true });
    const place = `\u001b[1m${join(dir, 'a.yaml')}:9:7:\u001b[22m`.replace(`${dir}/`, '');
    expect(lines[0]).toBe(
      `${place} \u001b[31merror:\u001b[39m class app: ${String.raw`\u{1b}[32mgreen`} [INVALID_CLASS]`,
    );
  });

  test.each(['json', 'github'])('has no styles in the format %s', async (format) => {
    const path = await file('a.yaml', spc(['error no name', 'f 0400']));
    expect((await lint([path], { format, isTTY: true })).output).not.toContain('\u001b');
  });
});

describe('lint escapes hostile text', () => {
  const hostile = 'error \u001b[31m \u202e 100%::error::x';

  test('on a terminal', async () => {
    const { lines } = await lint([await file('a.yaml', spc([hostile]))]);
    expect(lines[0]).toBe(
      String.raw`a.yaml:9:7: error: class app: \u{1b}[31m \u{202e} 100%::error::x [INVALID_CLASS]`,
    );
  });

  test('in JSON, whose shape is stable', async () => {
    const path = await file('a.yaml', spc([hostile, 'warning 键']));
    const { output } = await lint([path], { format: 'json' });
    expect(output).toMatch(/^[\n\x20-\x7e]+$/);
    expect(JSON.parse(output)).toEqual({
      version: 1,
      summary: { files: 1, classes: 1, errors: 2, hints: 0, leftOut: 0 },
      problems: [
        {
          ...{
            file: path,
            line: 9,
            column: 7,
            severity: 'error',
            code: 'INVALID_CLASS',
            class: 'app',
            namespace: '',
          },
          ...{ message: '\u001b[31m \u202e 100%::error::x', remedy: 'fix it' },
        },
        expect.objectContaining({ line: 10, message: '键' }),
      ],
      skipped: [],
      leftOut: [],
    });
  });

  test('for GitHub, where a line break or a colon could begin a command', async () => {
    const path = await file('a,b:c.yaml', spc([hostile, 'f 0400']));
    const text = spc(['f 0400']).replace(
      'name: app',
      String.raw`name: "a\n::set-output name=x::y"`,
    );
    const { lines } = await lint([path, await file('d.yaml', text)], { format: 'github' });
    expect(lines).toEqual([
      '::error file=a%2Cb%3Ac.yaml,line=9,col=7,title=keyferry INVALID_CLASS app::' +
        String.raw`\u{1b}[31m \u{202e} 100%25::error::x%0Afix it`,
      expect.stringMatching(
        /^::error file=d\.yaml,line=3,col=18,title=keyferry INVALID_CLASS a%0A%3A%3Aset-output name=x%3A%3Ay::metadata.name is not/,
      ),
      expect.stringMatching(
        /^::notice file=d\.yaml,line=8,col=14,title=keyferry a%0A%3A%3Aset-output name=x%3A%3Ay::file "f" has mode 0400/,
      ),
      '2 classes in 2 files: 2 errors, 1 hint',
    ]);
  });
});
