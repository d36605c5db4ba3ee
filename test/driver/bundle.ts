import { spawn } from 'node:child_process';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const project = join(import.meta.dirname, '../..');
const bundle = join(project, 'dist/keyferry.js');
const plugin = join(project, 'dist/docker-dso');

/** The path of dist/docker-dso. Builds it as {@link builtBundle} does. */
export async function builtPlugin(): Promise<string> {
  await builtBundle();
  return plugin;
}

/**
 * The path of dist/keyferry.js. Builds it if it is missing or older than its sources. Test files
 * may call this concurrently.
 */
export async function builtBundle(): Promise<string> {
  if (await isStale())
    await withBuildLock(async () => {
      if (await isStale()) await build();
    });
  return bundle;
}

/**
 * Test files run in separate processes. The lock is a directory that only one of them can create.
 */
async function withBuildLock(work: () => Promise<void>): Promise<void> {
  const lock = join(project, 'dist/.building');
  await mkdir(join(project, 'dist'), { recursive: true });
  while (!(await mkdir(lock).then(toTrue, toFalse))) {
    const createdAt = await modifiedAt(lock);
    // The process that created it was killed.
    if (createdAt !== 0 && Date.now() - createdAt > 60_000)
      await rm(lock, { recursive: true, force: true });
    await sleep(50);
  }
  try {
    await work();
  } finally {
    await rm(lock, { recursive: true });
  }
}

const toTrue = (): boolean => true;
const toFalse = (): boolean => false;

async function isStale(): Promise<boolean> {
  const built = Math.min(await modifiedAt(bundle), await modifiedAt(plugin));
  const entries = await readdir(join(project, 'src'), { recursive: true, withFileTypes: true });
  const sources = entries
    .filter((entry) => entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
  const inputs = [...sources, join(project, 'package.json'), join(project, 'scripts/build.mjs')];
  return Math.max(...(await Promise.all(inputs.map(modifiedAt)))) > built;
}

async function modifiedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}

async function build(): Promise<void> {
  const child = spawn(process.execPath, [join(project, 'scripts/build.mjs')], { cwd: project });
  const output: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0)
    throw new Error(`the bundle cannot be built:\n${Buffer.concat(output).toString()}`);
}
