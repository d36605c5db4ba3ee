import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
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
async function runScript(make: string) {
  await writeFile(join(project, 'bin/make'), `#!/bin/sh\n${make}\n`);
  await chmod(join(project, 'bin/make'), 0o755);
  const { status, stdout, stderr } = spawnSync(join(project, 'scripts/ci.sh'), {
    env: { ...process.env, PATH: `${join(project, 'bin')}:${process.env.PATH}` },
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

  test('fails for a suite that does not run', async () => {
    const { status, log } = await runScript(`
      case "$*" in *suite3*) echo 'SKIPPED suite3: no server';; *) echo 'Tests:       1 passed, 1 total';; esac`);
    expect(status).toBe(1);
    expect(log).toContain('FAILED: suite3 did not run: SKIPPED suite3: no server');
  });
});
