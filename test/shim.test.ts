import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { envFile } from '../src/docker/volume/env-file.ts';
import { describeIfAvailable, testIfAvailable } from './if-available.ts';
import { programInPath } from './servers/go-program.ts';

const missing = [
  ...(process.platform === 'linux' ? [] : ['Linux']),
  ...((await programInPath('go')) === undefined ? ['Go'] : []),
];
const busybox = await programInPath('busybox');
const emulator = await programInPath('qemu-aarch64-static');
const isRoot = process.getuid?.() === 0;
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
const names = ['env', 'printenv', 'sh', 'bash', 'ash', 'dash', 'zsh'];
const secrets = { DB_PASSWORD: 'hunter2', LINES: 'one\ntwo=2\n' };

/** The programs that `make shim` builds, and the folder they are in. */
let built: string;
beforeAll(() => {
  if (missing.length > 0) return;
  built = mkdtempSync(join(tmpdir(), 'kf-shim-build-'));
  build(built);
}, 300_000);
afterAll(() => rmSync(built, { recursive: true, force: true }));

function build(folder: string, project = '.'): void {
  const { status, stderr } = spawnSync('make', [
    '-s',
    '-C',
    project,
    'shim',
    `shim_folder=${folder}`,
  ]);
  if (status !== 0) throw new Error(`make shim: ${stderr.toString()}`);
}

/** The root of a file system with a mounted volume: run/dso/{bin,env}. */
let root: string;
let bin: string;
beforeEach(() => {
  if (missing.length > 0) return;
  root = mkdtempSync(join(tmpdir(), 'kf-shim-'));
  chmodSync(root, 0o755);
  bin = join(root, 'run/dso/bin');
  mkdirSync(bin, { recursive: true });
  copyFileSync(join(built, `dso-shim-linux-${architecture}`), join(bin, '../shim'));
  chmodSync(join(bin, '../shim'), 0o555);
  linkSync(join(bin, '../shim'), join(bin, 'dso-shim'));
  for (const name of names) symlinkSync('dso-shim', join(bin, name));
  writeVariables(secrets);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function writeVariables(variables: Readonly<Record<string, string>>): void {
  const bytes = Object.entries(variables).map(
    ([name, value]) => [name, Buffer.from(value)] as const,
  );
  writeEnvFile(envFile(new Map(bytes)));
}

function writeEnvFile(content: Uint8Array | string): void {
  rmSync(join(bin, '../env'), { force: true });
  writeFileSync(join(bin, '../env'), content, { mode: 0o444 });
}

type Options = Pick<SpawnSyncOptions, 'argv0' | 'cwd' | 'uid'> & {
  readonly env?: Readonly<Record<string, string>>;
};

/** Runs a program as an engine does that has found it in PATH. */
function run(program: string, args: readonly string[] = [], options: Options = {}) {
  const { status, signal, stdout, stderr, pid, error } = spawnSync(join(bin, program), args, {
    cwd: root,
    argv0: program,
    env: { PATH: `${bin}:${String(process.env.PATH)}` },
    // Bash reads ~/.bashrc if its input is a socket, as a pipe of Node is.
    stdio: ['ignore', 'pipe', 'pipe'],
    // A shim that starts itself does so forever.
    timeout: 10_000,
    ...options,
  });
  if (error !== undefined) throw error;
  return { status, signal, stdout: String(stdout), stderr: String(stderr), pid };
}

const start = (args: readonly string[], options?: Options) =>
  run('dso-shim', ['--', ...args], options);

/** An executable file of the image, in a directory of its own. */
function addProgram(content: string, mode = 0o755): string {
  const directory = mkdtempSync(join(root, 'image-'));
  chmodSync(directory, 0o755);
  writeFileSync(join(directory, 'app'), content, { mode });
  return directory;
}

const describeShim = describeIfAvailable(import.meta.filename, missing);

describeShim('make shim', () => {
  test('builds the same bytes in every folder, for amd64 and arm64', () => {
    const project = join(root, 'elsewhere');
    mkdirSync(project);
    for (const name of ['shim', 'Makefile', 'package.json'])
      cpSync(name, join(project, name), { recursive: true });
    build(join(project, 'out'), project);
    for (const [name, machine, maxBytes] of [
      ['dso-shim-linux-amd64', 62, 1_600_000],
      ['dso-shim-linux-arm64', 183, 1_600_000],
      ['dso-runtime-linux-amd64', 62, 2_400_000],
      ['dso-runtime-linux-arm64', 183, 2_400_000],
    ] as const) {
      const program = readFileSync(join(built, name));
      expect(program.equals(readFileSync(join(project, 'out', name)))).toBe(true);
      expect(program.readUInt16LE(18)).toBe(machine);
      expect(program.length).toBeLessThan(maxBytes);
    }
  }, 300_000);

  const testArm64 = testIfAvailable('the shim for arm64', [
    ...missing,
    ...(emulator === undefined ? ['qemu-aarch64-static'] : []),
  ]);
  testArm64('builds an arm64 program that runs', () => {
    rmSync(join(bin, 'dso-shim'));
    copyFileSync(join(built, 'dso-shim-linux-arm64'), join(bin, 'dso-shim'));
    const shim = ['-0', 'printenv', join(bin, 'dso-shim'), 'DB_PASSWORD'];
    const { stdout } = spawnSync(emulator ?? '', shim, { env: { PATH: bin } });
    expect(String(stdout)).toBe('hunter2\n');
  });
});

describeShim('the shim as entrypoint', () => {
  test('sets the variables, which replace inherited ones', () => {
    const { stdout, stderr, status } = start(['env', '-0'], {
      env: { PATH: `${bin}:/usr/bin:/bin`, DB_PASSWORD: 'dso://app#password', OTHER: 'kept' },
    });
    expect(stdout.split('\0').sort()).toEqual(
      [
        '',
        'PATH=/usr/bin:/bin',
        'OTHER=kept',
        'DB_PASSWORD=hunter2',
        `LINES=${secrets.LINES}`,
      ].sort(),
    );
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  });

  test('is replaced by the program, whose process, exit code and signals are its own', () => {
    const { pid, stdout, status } = start(['sh', '-c', 'echo $$; exit 3']);
    expect(stdout).toBe(`${pid}\n`);
    expect(status).toBe(3);
    expect(start(['sh', '-c', 'kill -TERM $$'])).toMatchObject({ status: null, signal: 'SIGTERM' });
  });

  test('gives its program the same arguments, open files and limits as without it', () => {
    const script = 'ls -l /proc/self/fd | wc -l; ulimit -Sn; printf "<%s>" "$0" "$@"';
    const command = ['sh', '-c', script, '', '--', '-x', 'a b', ''];
    const { stdout } = spawnSync('sh', command.slice(1), { cwd: root });
    expect(start(command).stdout).toBe(String(stdout));
    expect(String(stdout)).toContain('<><--><-x><a b><>');
  });

  test('starts with an empty file of variables', () => {
    writeEnvFile('');
    expect(start(['printenv', 'DB_PASSWORD'])).toMatchObject({ status: 1, stdout: '', stderr: '' });
  });

  test('starts a program by a path relative to the working directory', () => {
    const cwd = addProgram('#!/bin/sh\necho "$DB_PASSWORD"');
    expect(start(['./app'], { cwd }).stdout).toBe('hunter2\n');
    expect(start(['app'], { cwd, env: { PATH: `${bin}:` } }).stdout).toBe('hunter2\n');
  });

  test('searches the PATH of its file of variables, if that has one', () => {
    const directory = addProgram('#!/bin/sh\necho "$PATH"');
    writeVariables({ PATH: `${bin}:${directory}` });
    expect(start(['app']).stdout).toBe(`${directory}\n`);
  });

  test('searches where shells search if there is no other PATH', () => {
    for (const env of [{}, { PATH: bin }, { PATH: `${bin}:${bin}/` }])
      expect(start(['env'], { env }).stdout).not.toContain('PATH=');
  });

  test('passes over what it may not execute, as shells do', () => {
    const directories = [addProgram('', 0o644), addProgram('#!/bin/sh\necho found')];
    mkdirSync(join(root, 'folder/app'), { recursive: true });
    const env = { PATH: [bin, `${root}/folder`, '/missing', ...directories].join(':') };
    expect(start(['app'], { env }).stdout).toBe('found\n');
  });

  test('prints its version, without a file of variables', () => {
    rmSync(join(bin, '../env'));
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(run('dso-shim', ['--version']).stdout).toBe(`dso-shim ${version}\n`);
  });

  test.each([[[]], [['--']], [['env']], [['--help']]])('refuses the arguments %j', (args) => {
    expect(run('dso-shim', args)).toMatchObject({
      status: 127,
      stdout: '',
      stderr:
        'dso: the shim is called without a program; call it as dso-shim -- PROGRAM ARGUMENTS\n',
    });
  });
});

describeShim('the shim in the PATH of the service', () => {
  test.each(['sh', 'bash', 'dash', 'zsh'])(
    'starts the real %s with the variables',
    async (shell) => {
      if ((await programInPath(shell)) === undefined) return;
      const { stdout } = run(shell, ['-c', 'echo "$DB_PASSWORD"; command -v env']);
      expect(stdout).toMatch(/^hunter2\n\/(?!.*run\/dso)\S*\/env\n$/);
    },
  );

  test('keeps the name by which it is called', () => {
    const command = ['-c', 'echo "$0 $DB_PASSWORD"'];
    expect(run('sh', command, { argv0: '-sh' }).stdout).toBe('-sh hunter2\n');
    expect(run('sh', command, { argv0: join(bin, 'sh') }).stdout).toBe(`${bin}/sh hunter2\n`);
  });

  test('leaves the arguments of env to env', () => {
    expect(run('env', ['-i', 'A=1', 'env']).stdout).toBe('A=1\n');
    expect(run('env', ['sh', '-c', 'echo "$DB_PASSWORD"']).stdout).toBe('hunter2\n');
  });

  test('does not change a script that names its shell by path', () => {
    const directory = addProgram('#!/bin/sh\necho "<$DB_PASSWORD>"');
    const { stdout } = spawnSync(join(directory, 'app'), { env: { PATH: `${bin}:/usr/bin:/bin` } });
    expect(String(stdout)).toBe('<>\n');
  });

  test('never starts itself, by whatever path it is in PATH', () => {
    symlinkSync(bin, join(root, 'alias'));
    mkdirSync(join(root, 'links'));
    symlinkSync(join(bin, 'dso-shim'), join(root, 'links/sh'));
    linkSync(join(bin, 'dso-shim'), join(root, 'links/bash'));
    const shadows = [bin, `${bin}/`, join(root, 'alias'), join(root, 'links'), 'run/dso/bin'];
    const env = { PATH: [...shadows, '/usr/bin', '/bin', ...shadows].join(':') };
    for (const shell of ['sh', 'bash'])
      expect(run(shell, ['-c', 'echo "$DB_PASSWORD $PATH"'], { env }).stdout).toBe(
        `hunter2 ${root}/links:/usr/bin:/bin:${root}/links\n`,
      );
    expect(run('zsh', [], { env: { PATH: `${bin}:${root}/links` } }).status).toBe(127);
  });

  test('prints the environment itself in an image without env and printenv', () => {
    const options = { env: { PATH: bin, A: '1' }, cwd: root };
    expect(runInEmptyImage('env', [], options).stdout).toBe(
      `A=1\nDB_PASSWORD=hunter2\nLINES=${secrets.LINES}\n`,
    );
    expect(runInEmptyImage('printenv', [], options).stdout).toContain('DB_PASSWORD=hunter2\n');
    expect(runInEmptyImage('printenv', ['DB_PASSWORD'], options)).toMatchObject({
      stdout: 'hunter2\n',
      status: 0,
    });
    expect(runInEmptyImage('printenv', ['MISSING'], options)).toMatchObject({
      stdout: '',
      status: 1,
    });
    for (const args of [['-i'], ['sh'], ['A=1']])
      expect(runInEmptyImage('env', args, options)).toMatchObject({
        status: 127,
        stderr:
          'dso: the image has no env; without it, only env, printenv and printenv NAME work\n',
      });
  });

  /** In an image of which PATH has a directory without programs. */
  function runInEmptyImage(program: string, args: readonly string[], options: Options) {
    mkdirSync(join(root, 'empty'), { recursive: true });
    const result = run(program, args, {
      ...options,
      env: { ...options.env, PATH: `${bin}:${root}/empty` },
    });
    return { ...result, stdout: result.stdout.replace(`PATH=${root}/empty\n`, '') };
  }

  test('shows any variables as they were written', () => {
    const name = fc
      .string({ unit: 'binary', minLength: 1 })
      // PATH would decide which env is found.
      .filter((text) => /^[^=\p{Cc}]+$/u.test(text) && text !== 'PATH');
    const value = fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', ''));
    mkdirSync(join(root, 'empty'));
    fc.assert(
      fc.property(fc.dictionary(name, value), (variables) => {
        writeVariables(variables);
        const entries = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
        const own = run('env', [], { env: { PATH: `${bin}:${root}/empty` } });
        expect(own.stdout).toBe([`PATH=${root}/empty`, ...entries, ''].join('\n'));
        const real = run('env', ['-0'], { env: { PATH: `${bin}:/usr/bin:/bin` } });
        expect(real.stdout).toBe(['PATH=/usr/bin:/bin', ...entries, ''].join('\0'));
      }),
    );
  });
});

describeShim('the shim that cannot start a program', () => {
  test.each<[string, string, string]>([
    ['cut off', 'A=1\0B=hunter2', 'it ends within entry 2'],
    ['without a name', 'A=1\0hunter2\0', 'entry 2 has no valid name'],
    ['with a name twice', 'A=1\0A=hunter2\0', 'entry 2 repeats a name'],
  ])('refuses a file of variables %s', (_, content, cause) => {
    writeEnvFile(content);
    for (const { status, stdout, stderr } of [
      start(['echo', 'started']),
      run('sh', ['-c', 'echo started']),
    ])
      expect({ status, stdout, stderr }).toEqual({
        status: 127,
        stdout: '',
        stderr: `dso: ${root}/run/dso/env is malformed: ${cause}; restart the container to have it written again\n`,
      });
  });

  test('refuses to start without the file of variables', () => {
    rmSync(join(bin, '../env'));
    expect(start(['echo', 'started'])).toMatchObject({
      status: 127,
      stdout: '',
      stderr: `dso: ${root}/run/dso/env cannot be read: no such file or directory; start the service with docker dso up\n`,
    });
    mkdirSync(join(bin, '../env'));
    expect(start(['echo', 'started']).stderr).toContain(
      '/run/dso/env cannot be read: is a directory; ',
    );
  });

  test('refuses to start if its user may not read the file of variables', () => {
    chmodSync(join(bin, '../env'), 0);
    const { status, stderr } = start(['echo', 'started'], isRoot ? { uid: 65_534 } : {});
    expect(status).toBe(127);
    expect(stderr).toContain('/run/dso/env cannot be read: permission denied; ');
  });

  test.each<[string, readonly string[], number, string]>([
    ['is missing', ['missing'], 127, 'missing is not in the container'],
    ['is missing at its path', ['./missing'], 127, './missing is not in the container'],
    ['has an empty name', [''], 127, ' is not in the container'],
    ['has a name of two lines', ['a\nb'], 127, 'a?b is not in the container'],
    ['is a directory', ['/'], 126, '/ cannot start: permission denied'],
    ['is the shim', ['run/dso/bin/sh'], 126, 'run/dso/bin/sh is the shim itself'],
  ])('says so if the program %s', (_, command, status, cause) => {
    const result = start(command);
    expect(result).toMatchObject({ status, stdout: '' });
    expect(result.stderr).toMatch(/^dso: [^\n]*; [^\n]*\n$/);
    expect(result.stderr).toContain(`dso: ${cause}; `);
  });

  test.each<[string, string, number, number, string]>([
    ['is not executable', '', 0o644, 126, 'permission denied'],
    ['has an unknown format', 'text', 0o755, 126, 'exec format error'],
    [
      'lacks its interpreter',
      '#!/missing',
      0o755,
      127,
      'the image lacks its interpreter or loader',
    ],
  ])('says so if the program %s', (_, content, mode, status, cause) => {
    const directory = addProgram(content, mode);
    for (const result of [
      start([`${directory}/app`]),
      start(['app'], { env: { PATH: `${bin}:${directory}` } }),
    ]) {
      expect(result.status).toBe(status);
      expect(result.stderr).toContain(`dso: ${directory}/app cannot start: ${cause}; `);
    }
  });

  test('names the longest variable, without its value, if the environment is too long', () => {
    writeEnvFile(`SHORT=hunter2\0LONG=${'x'.repeat(131_067)}\0`);
    const { status, stderr } = start(['/bin/sh', '-c', 'true']);
    expect({ status, stderr }).toEqual({
      status: 126,
      stderr:
        'dso: /bin/sh cannot start: argument list too long, the longest variable is LONG with 131072 bytes; ' +
        'use dsofile:// for it\n',
    });
    writeVariables({ LONG: 'x'.repeat(131_066) });
    expect(start(['/bin/sh', '-c', 'echo ${#LONG}']).stdout).toBe('131066\n');
  });

  test('says so if it has no name', () => {
    expect(run('dso-shim', [], { argv0: '' })).toMatchObject({ status: 127, stdout: '' });
  });
});

const newNamespaces = ['--mount', '--pid', '--fork'];
const canChangeRoot = spawnSync('unshare', [...newNamespaces, 'true']).status === 0;
const describeInImage = describeIfAvailable('the shim in an image', [
  ...missing,
  ...(canChangeRoot ? [] : ['right to change its root']),
  ...(busybox === undefined ? ['busybox'] : []),
]);
describeInImage('the shim in an image', () => {
  const applets = ['sh', 'env', 'id', 'grep'];
  beforeEach(() => {
    for (const directory of ['bin', 'proc']) mkdirSync(join(root, directory));
    copyFileSync(busybox ?? '', join(root, 'bin/busybox'));
    for (const applet of applets) symlinkSync('busybox', join(root, 'bin', applet));
  });

  /** Runs a command in the image. @param enter how a shell in a mount namespace starts it */
  function inImage(command: readonly string[], enter = 'exec chroot "$ROOT" "$@"') {
    // chroot itself is searched in this PATH.
    const env = { PATH: `/run/dso/bin:/bin:${String(process.env.PATH)}`, ROOT: root };
    const args = [...newNamespaces, 'sh', '-c', enter, 'sh', ...command];
    const { stdout, stderr, status } = spawnSync('unshare', args, { env });
    return { stdout: String(stdout), stderr: String(stderr), status };
  }

  test('is followed by the application as process 1', () => {
    const command = ['/run/dso/bin/dso-shim', '--', 'sh', '-c', 'echo $$ $DB_PASSWORD $PATH'];
    const { stdout, stderr } = inImage(command);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^1 hunter2 \/bin:/);
  });

  test('starts applets of busybox by their names', () => {
    expect(inImage(['env']).stdout).toContain('DB_PASSWORD=hunter2\n');
    expect(inImage(['sh', '-c', 'echo "$DB_PASSWORD $0"']).stdout).toBe('hunter2 sh\n');
    expect(inImage(['env', '-u', 'LINES', 'sh', '-c', 'echo "<$LINES>"']).stdout).toBe('<>\n');
    expect(inImage(['/run/dso/bin/dso-shim', '--', 'id', '-u']).stdout).toBe('0\n');
  });

  test('works without privileges, in a file system that is read-only', () => {
    const enter = `mount --bind "$ROOT" "$ROOT" && mount -t proc proc "$ROOT/proc" &&
      mount -o remount,bind,ro "$ROOT" &&
      exec setpriv --no-new-privs chroot --userspec=1000:1000 "$ROOT" "$@"`;
    const program = 'id -u; grep -E "NoNewPrivs|CapEff" /proc/self/status; echo $DB_PASSWORD';
    const { stdout, stderr } = inImage(['sh', '-c', program], enter);
    expect({ stdout, stderr }).toEqual({
      stdout: '1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nhunter2\n',
      stderr: '',
    });
  });

  test('needs no other program', () => {
    rmSync(join(root, 'bin'), { recursive: true });
    expect(inImage(['env']).stdout).toContain('DB_PASSWORD=hunter2\n');
    expect(inImage(['sh'])).toMatchObject({ status: 127 });
  });
});
