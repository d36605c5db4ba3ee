import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SecretError, toSecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { replaceFile } from '../../files/replace-file.ts';
import { writeError } from '../host/host-files.ts';
import type { ChangedFile } from './plan.ts';
import type { SourceFile } from './source-file.ts';
import { applyEdits } from './text-edits.ts';

/**
 * Writes all files, and then checks them. If a step fails, all files are as they were before.
 * @param check throws if the files are not right
 * @throws SecretError of the step; it says if an old file could not be put back
 */
export async function writeFiles(
  files: readonly ChangedFile[],
  check: () => Promise<void>,
): Promise<void> {
  for (const { file } of files) await requireUnchanged(file);
  const written: SourceFile[] = [];
  try {
    for (const { file, edits } of files) {
      await write(file, applyEdits(file.text, edits));
      written.push(file);
    }
    await check();
  } catch (thrown) {
    const failed = await putBack(written);
    const { code, message, hint } = toSecretError(thrown);
    const state =
      failed.length === 0
        ? 'all files are as they were before'
        : `these files are changed, and could not be put back: ${failed.map(sanitizeUserText).join(', ')}`;
    throw new SecretError(code, `${message}; ${state}`, { hint, cause: thrown });
  }
}

/** @returns the names of files that could not be written */
async function putBack(files: readonly SourceFile[]): Promise<readonly string[]> {
  const failed: string[] = [];
  for (const file of files)
    await write(file, file.text).catch(() => {
      failed.push(file.name);
    });
  return failed;
}

/** An editor may have written it since it was read. */
async function requireUnchanged({ path, name, text }: SourceFile): Promise<void> {
  const now = await readFile(path, 'utf8').catch(() => undefined);
  if (now !== undefined && Buffer.from(now).equals(Buffer.from(text))) return;
  throw new SecretError(
    'INVALID_REQUEST',
    `another program has changed ${sanitizeUserText(name)}`,
    {
      hint: 'no file was changed; run the command again',
    },
  );
}

/** With the mode and the owner of the old file. */
async function write({ path, mode, uid, gid }: SourceFile, text: string): Promise<void> {
  const unfinished = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  const owner = { uid, gid };
  const isOwn = uid === process.getuid?.() && gid === process.getgid?.();
  try {
    await replaceFile(path, text, { mode, unfinished, ...(!isOwn && { owner }) });
  } catch (thrown) {
    throw writeError(path, thrown);
  }
}
