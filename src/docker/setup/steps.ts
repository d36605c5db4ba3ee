import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  readFile,
  readlink,
  rename,
  rm,
  rmdir,
  symlink,
} from 'node:fs/promises';
import { isThere } from '../../files/is-there.ts';
import { dirname, join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { makeDirectory, replaceHostFile, writeError } from '../host/host-files.ts';

/** One part of an installation. */
export type Step = {
  /** `unit     /etc/systemd/system/dso-agent.service` */
  readonly title: string;
  /** Whether there is nothing to do. Changes nothing. */
  isDone(): Promise<boolean>;
  /** @throws SecretError */
  apply(): Promise<void>;
};

/** A part that can be taken away. */
export type Removal = {
  readonly title: string;
  /** Whether it is there. Changes nothing. */
  isThere(): Promise<boolean>;
  /** @returns whether it is gone @throws SecretError */
  remove(): Promise<boolean>;
};

/** A title in columns. */
export function titleOf(kind: string, name: string): string {
  return `${kind.padEnd(10)} ${sanitizeUserText(name)}`;
}

/** Copies a file of the release. */
export function copyStep(source: string, target: string, mode: number): Step {
  return {
    title: titleOf('program', target),
    async isDone() {
      const found = await statusOf(target);
      if (found?.isFile() !== true || (found.mode & 0o777) !== mode) return false;
      return (await digestOf(source)) === (await digestOf(target));
    },
    async apply() {
      const unfinished = `${target}.new`;
      try {
        await mkdir(dirname(target), { recursive: true, mode: 0o755 });
        await rm(unfinished, { force: true });
        await copyFile(source, unfinished);
        await chmod(unfinished, mode);
        // A program that runs keeps its old file.
        await rename(unfinished, target);
      } catch (thrown) {
        throw writeError(target, thrown);
      }
    },
  };
}

/** Makes a link, and replaces a file there. */
export function linkStep(path: string, target: string): Step {
  const text = relative(dirname(path), target);
  return {
    title: titleOf('plugin', path),
    isDone: async () => (await linkOf(path)) === text,
    async apply() {
      const unfinished = `${path}.new`;
      try {
        await mkdir(dirname(path), { recursive: true, mode: 0o755 });
        await rm(unfinished, { force: true });
        await symlink(text, unfinished);
        await rename(unfinished, path);
      } catch (thrown) {
        throw writeError(path, thrown);
      }
    },
  };
}

/** Makes a directory. */
export function directoryStep(path: string, mode: number): Step {
  return {
    title: titleOf('directory', path),
    isDone: async () => (await statusOf(path))?.isDirectory() === true,
    async apply() {
      await makeDirectory(path, mode);
    },
  };
}

/**
 * Writes a file of a known text.
 * @param mark the first line of such a file; a file without it is somebody else's
 */
export function fileStep(kind: string, path: string, text: string, mark: string): Step {
  return {
    title: titleOf(kind, path),
    isDone: async () => (await textOf(path)) === text,
    async apply() {
      const present = await textOf(path);
      if (present !== undefined && !present.startsWith(mark))
        throw new SecretError(
          'INVALID_REQUEST',
          `${sanitizeUserText(path)} is not of this program`,
          {
            hint: 'move it away, and call the command again',
          },
        );
      try {
        await mkdir(dirname(path), { recursive: true, mode: 0o755 });
      } catch (thrown) {
        throw writeError(path, thrown);
      }
      await replaceHostFile(path, text, 0o644);
    },
  };
}

/** Removes a file or a link, if `isOurs` says so. */
export function fileRemoval(
  title: string,
  path: string,
  isOurs: () => Promise<boolean> = () => Promise.resolve(true),
): Removal {
  return {
    title,
    isThere: async () => (await statusOf(path)) !== undefined && (await isOurs()),
    async remove() {
      await rm(path, { force: true }).catch((thrown: unknown) => {
        throw writeError(path, thrown);
      });
      return true;
    },
  };
}

/** Removes a directory if it is empty. */
export function directoryRemoval(path: string): Removal {
  return {
    title: titleOf('directory', path),
    isThere: async () => (await statusOf(path))?.isDirectory() === true,
    async remove() {
      try {
        await rmdir(path);
        return true;
      } catch (thrown) {
        if (errorCodeOf(thrown) === 'ENOTEMPTY') return false;
        throw writeError(path, thrown);
      }
    },
  };
}

/** Whether the file begins with the mark. */
export async function hasMark(path: string, mark: string): Promise<boolean> {
  return (await textOf(path))?.startsWith(mark) === true;
}

/** The target of a link; undefined if the path is no link. */
export async function linkOf(path: string): Promise<string | undefined> {
  return readlink(path).catch(() => undefined);
}

/** The names of the files of a release that are missing in a directory. */
export async function missingIn(
  directory: string,
  names: readonly string[],
): Promise<readonly string[]> {
  const found = await Promise.all(names.map((name) => isThere(join(directory, name))));
  return names.filter((_, index) => found[index] !== true);
}

async function statusOf(path: string) {
  return lstat(path).catch(() => undefined);
}

async function textOf(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
