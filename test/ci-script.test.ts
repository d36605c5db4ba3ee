import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const suites = Array.from({ length: 11 }, (_, n) => `suite${n}`);

let project: string;
beforeEach(async () => {
  project = await mkdtemp(join(tmpdir(), 'kf-ci-'));
  for (const folder of ['scripts', 'bin', 'test/e2e'])
    await mkdir(join(project, folder), { recursive: true });
  await copyFile(join(import.meta.dirname, '../scripts/ci.sh'), join(project, 'scripts/ci.sh'));
  for (const suite of suites) await writeFile(join(project, `test/e2e/${suite}.test.ts`), '');
});
afterEach(() => rm(project, { recursive: true }));

/** Runs the script in a project where `make` is this shell script. */
async function runScript(make: string, env: Readonly<Record<string, string>> = {}) {
  await writeFile(join(project, 'bin/make'), `#!/bin/sh\n${make}\n`);
  await chmod(join(project, 'bin/make'), 0o755);
  const { status, stdout, stderr } = spawnSync(join(project, 'scripts/ci.sh'), {
    env: { ...process.env, ...env, PATH: `${join(project, 'bin')}:${process.env.PATH}` },
    encoding: 'utf8',
    maxBuffer: 200_000_000,
  });
  return { status, log: stdout + stderr, lines: stdout.trimEnd().split('\n') };
}

describe('scripts/ci.sh', () => {
  test('writes less than 2 MB, whatever its steps write, and keeps the end of each', async () => {
    const { status, log, lines } = await runScript(`
      echo "begin of $*"
      yes 'a line of a log that does not end' | head -c 150000
      printf '\\nTests:       1 failed, 2 passed, 3 total\\n'
      exit 1`);
    expect(status).toBe(1);
    expect(Buffer.byteLength(log)).toBeLessThan(2_000_000);
    for (const target of [
      'check',
      'test-node20',
      'test-node24',
      ...suites.map((suite) => `e2e SUITE=test/e2e/${suite}.test.ts`),
    ])
      expect(log).toContain(`begin of ${target}`);
    expect(log.match(/^Tests: .*/gm)?.length).toBeGreaterThan(suites.length);
    expect(lines.at(-1)).toMatch(/^(\d+) passed, \d+ failed$/);
  });

  test('leaves out nothing of a short step', async () => {
    const { log } = await runScript(`echo "all of $*"; echo 'Tests:       2 passed, 2 total'`);
    expect(log).toContain('== make check\nall of check\nTests:       2 passed, 2 total\n== ');
    expect(log).not.toContain('[from here on');
  });

  test('is green if every step is', async () => {
    const { status, lines } = await runScript(`echo 'Tests:       2 passed, 2 total'`);
    expect({ status, last: lines.at(-1) }).toEqual({ status: 0, last: '46 passed, 0 failed' });
  });

  test.each([
    ['a suite that does not run', 'test/e2e/suite3.test.ts', 'make e2e SUITE=suite3'],
    ['unit tests that do not run', 'test-node24', 'make test-node24'],
  ])('fails for %s', async (_, argument, name) => {
    const { status, log } = await runScript(`
      echo 'Tests:       1 passed, 1 total'
      case "$*" in *${argument}*) echo 'SKIPPED this: no server';; esac`);
    expect(status).toBe(1);
    expect(log.match(/^FAILED.*/gm)).toEqual([`FAILED: ${name}: SKIPPED this: no server`]);
  });

  test('fails for a suite in which no test passes', async () => {
    const { status, log } = await runScript(`
      case "$*" in *suite3*) echo 'Tests:       1 skipped, 1 total';; *) echo 'Tests:       1 passed, 1 total';; esac`);
    expect(status).toBe(1);
    expect(log.match(/^FAILED.*/gm)).toEqual(['FAILED: suite3: no test passed']);
  });

  test('ends a step that hangs, and shows what it wrote', async () => {
    const { status, log } = await runScript(
      `echo 'Tests:       1 passed, 1 total'; case "$*" in test-node20) sleep 100;; esac`,
      { CI_STEP_SECONDS: '1' },
    );
    expect(status).toBe(1);
    expect(log).toContain(
      'Tests:       1 passed, 1 total\nFAILED: make test-node20 did not finish in 1 s\n== make test-node24',
    );
  });

  test('takes the notices of its list', async () => {
    const script = join(project, 'scripts/ci.sh');
    const text = await readFile(script, 'utf8');
    await writeFile(
      script,
      text.replace("may_be_skipped=''", "may_be_skipped='SKIPPED suite3: no server'"),
    );
    const make = (notice: string) => `
      echo 'Tests:       1 passed, 1 total'
      case "$*" in *suite3*) echo '${notice}';; esac`;
    expect((await runScript(make('SKIPPED suite3: no server'))).status).toBe(0);
    expect((await runScript(make('SKIPPED suite3: no etcd'))).status).toBe(1);
  });
});
