import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFakePrograms } from '../../../test/fakes/programs.ts';
import { createRunProgram } from '../run-program.ts';
import { EngineRuntime } from './engine-runtime.ts';
import { placesBelow } from './places.ts';

const program = '/usr/local/lib/keyferry/dso-runtime';
let root: string;
let programs: ReturnType<typeof createFakePrograms>;

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'kf-rt-')));
  for (const path of ['etc/docker', 'run/systemd/system'])
    mkdirSync(join(root, path), { recursive: true });
  programs = createFakePrograms(root, ['docker', 'systemctl']);
  engineHas(program);
});
afterEach(() => rmSync(root, { recursive: true }));

const at = (path: string): string => join(root, path);
const file = (): string => at('etc/docker/daemon.json');
const write = (text: string, mode = 0o644): void => writeFileSync(file(), text, { mode });
const read = (): string => readFileSync(file(), 'utf8');
const left = (): readonly string[] => readdirSync(at('etc/docker'));

/** What the engine answers: its runtime `dso`, and the runtimes and names of its containers. */
function engineHas(runtime: string, containers: readonly string[] = []): void {
  programs.answer('docker', [
    { when: 'info *', stdout: `${runtime}\n` },
    { when: 'ps *', stdout: containers.map((_, index) => `id${index}\n`).join('') },
    { when: 'container inspect *', stdout: containers.map((line) => `${line}\n`).join('') },
  ]);
}

const runtime = (isHost = true): EngineRuntime =>
  new EngineRuntime({
    ...{ places: placesBelow(root), program, isHost, reloadMs: 0 },
    run: createRunProgram({ PATH: programs.path }),
  });

describe('the registration', () => {
  test('keeps all else of daemon.json, its order and its mode, and leaves a backup', async () => {
    const before =
      '{\n    "log-level": "warn",\n    "runtimes": {"runsc": {"path": "/r"}},\n    "dns": ["::1"]\n}';
    write(before, 0o600);
    const step = runtime().step();
    expect(await step.isDone()).toBe(false);
    await step.apply();
    expect(read()).toBe(`{
    "log-level": "warn",
    "runtimes": {
        "runsc": {
            "path": "/r"
        },
        "dso": {
            "path": "${program}"
        }
    },
    "dns": [
        "::1"
    ]
}
`);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(readFileSync(at('etc/docker/daemon.json.before-dso'), 'utf8')).toBe(before);
    expect(programs.calls()).toContain('systemctl reload docker.service');
    expect(await step.isDone()).toBe(true);
  });

  test('keeps the file as it was before the first of several registrations', async () => {
    const before = '{"dns":["::1"]}';
    write(before);
    await runtime().step().apply();
    // As after a setup during which the engine did not respond.
    await runtime().step().apply();
    expect(readFileSync(at('etc/docker/daemon.json.before-dso'), 'utf8')).toBe(before);
  });

  test('makes a daemon.json where there is none', async () => {
    rmSync(at('etc/docker'), { recursive: true });
    await runtime().step().apply();
    expect(JSON.parse(read())).toEqual({ runtimes: { dso: { path: program } } });
    expect(left()).toEqual(['daemon.json']);
  });

  test('of the image of a host changes the file alone', async () => {
    await runtime(false).step().apply();
    expect(await runtime(false).step().isDone()).toBe(true);
    expect(programs.calls()).toEqual([]);
  });

  test('sends SIGHUP to an engine without systemd', async () => {
    rmSync(at('run/systemd'), { recursive: true });
    await expect(runtime().step().apply()).rejects.toThrow('Docker does not run here');
    expect(left()).toEqual([]);
    const engine = spawn('sleep', ['60']);
    const ended = once(engine, 'exit');
    writeFileSync(at('run/docker.pid'), `${engine.pid}\n`);
    await runtime().step().apply();
    expect(await ended).toEqual([null, 'SIGHUP']);
  });

  test('is taken back if the engine does not take it', async () => {
    const before = '{"dns":["::1"]}';
    write(before);
    engineHas('');
    await expect(runtime().step().apply()).rejects.toMatchObject({
      message: `Docker has not taken the runtime from ${file()}, which is as it was`,
    });
    expect(read()).toBe(before);
  });

  test('is taken back if the engine cannot be reloaded', async () => {
    programs.answer('systemctl', [{ when: 'reload *', code: 1, stderr: 'not active' }]);
    await expect(runtime().step().apply()).rejects.toThrow('systemctl reload failed: not active');
    expect(left()).toEqual([]);
  });

  test.each([
    ['{"dns": [}', 'is not a JSON object'],
    ['[]', 'is not a JSON object'],
    ['{"runtimes": 1}', 'is not an object'],
    ['{"runtimes": {"dso": {"path": "/other"}}}', 'has another runtime with the name dso'],
  ])('refuses %s', async (text, message) => {
    write(text);
    await expect(
      (async () => {
        const step = runtime().step();
        if (!(await step.isDone())) await step.apply();
      })(),
    ).rejects.toThrow(message);
    expect(read()).toBe(text);
    expect(left()).toEqual(['daemon.json']);
  });

  test.each([
    ['--config-file', '/etc/other.json', 'add the runtime dso with the path'],
    ['--add-runtime', 'runsc=/r', 'add --add-runtime dso='],
  ])('refuses an engine that runs with %s %s', async (flag, value, hint) => {
    const engine = spawn('sh', ['-c', 'read _', flag, value]);
    try {
      writeFileSync(at('run/docker.pid'), `${engine.pid}`);
      await expect(runtime().step().apply()).rejects.toMatchObject({
        message: `Docker runs with ${flag} ${value}`,
        hint: expect.stringContaining(hint),
      });
      expect(left()).toEqual([]);
    } finally {
      engine.kill('SIGKILL');
    }
  });

  test('refuses a daemon.json that is a link', async () => {
    writeFileSync(at('other.json'), '{}');
    symlinkSync(at('other.json'), file());
    await expect(runtime().step().apply()).rejects.toThrow('is a symbolic link');
    expect(readFileSync(at('other.json'), 'utf8')).toBe('{}');
  });
});

describe('the way back', () => {
  test('leaves daemon.json as it was', async () => {
    const before = '{\n  "runtimes": {\n    "runsc": {\n      "path": "/r"\n    }\n  }\n}\n';
    write(before);
    await runtime().step().apply();
    expect(await runtime().removal().isThere()).toBe(true);
    expect(await runtime().removal().remove()).toBe(true);
    expect(read()).toBe(before);
    expect(left()).toEqual(['daemon.json']);
    expect(await runtime().removal().isThere()).toBe(false);
  });

  test('removes a daemon.json with nothing else', async () => {
    await runtime().step().apply();
    await runtime().removal().remove();
    expect(left()).toEqual([]);
  });

  test('refuses while containers have the runtime, because nothing could stop them', async () => {
    await runtime().step().apply();
    const before = read();
    engineHas(program, ['runc /plain', 'dso /shop-app-1', 'dso /shop-app-2']);
    await expect(runtime().removal().remove()).rejects.toMatchObject({
      message: 'containers use the runtime dso: shop-app-1, shop-app-2',
      hint: 'remove them first: docker dso down in their projects, or docker rm',
    });
    programs.answer('docker', [{ when: 'ps *', code: 1 }]);
    await expect(runtime().removal().remove()).rejects.toThrow('Docker does not respond');
    programs.answer('docker', [
      { when: 'ps *', stdout: 'id0\n' },
      { when: 'container inspect *', code: 1 },
    ]);
    await expect(runtime().removal().remove()).rejects.toThrow('Docker does not respond');
    expect(read()).toBe(before);
  });

  test('refuses while the runtime is the default', async () => {
    write('{"default-runtime": "dso"}');
    await runtime().step().apply();
    await expect(runtime().removal().remove()).rejects.toThrow('dso is the default-runtime');
  });

  test('refuses also for a runtime that the engine has by a flag', async () => {
    mkdirSync(at('usr/local/lib/keyferry'), { recursive: true });
    writeFileSync(at('usr/local/lib/keyferry/dso-runtime'), '');
    engineHas(program, ['dso /app']);
    await expect(runtime().removal().remove()).rejects.toThrow('use the runtime dso: app');
    engineHas(program);
    expect(await runtime().removal().remove()).toBe(false);
  });

  test('does not touch a daemon.json without it, even if it is malformed', async () => {
    write('{"dns": [}');
    expect(await runtime().removal().isThere()).toBe(false);
    expect(existsSync(file())).toBe(true);
  });
});
