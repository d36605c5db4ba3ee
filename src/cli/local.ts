import { Command, Option } from 'commander';
import { readFile } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SecretError, fileProblemOf } from '../core/errors.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import { raceWithAbort } from '../concurrency/deadline.ts';
import { tableLines } from '../formats/text-table.ts';
import type { StoreDocument } from '../providers/local/store/document.ts';
import {
  addVersion,
  findVersion,
  maxValueBytes,
  removeVersions,
} from '../providers/local/store/history.ts';
import type { StorePaths } from '../providers/local/store/encrypted-store.ts';
import { StoreReader } from '../providers/local/store/reader.ts';
import { StoreWriter } from '../providers/local/store/writer.ts';

/** What {@link localCommand} needs of the process. */
export type LocalDeps = {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Aborts when the process is stopped. It ends every wait. */
  readonly stop: AbortSignal;
  readonly now: () => number;
};

type FileOptions = { readonly store: string; readonly key: string };

/** `keyferry local`: manages the secrets of `provider: local`. Its actions throw SecretError. */
export function localCommand({
  stdin = process.stdin,
  stdout = process.stdout,
  stderr = process.stderr,
  stop = new AbortController().signal,
  now = Date.now,
}: Partial<LocalDeps> = {}): Command {
  const local = new Command('local')
    // The commands below inherit this: only main.ts ends the process.
    .exitOverride()
    .description(
      'manage the secrets of provider local: one age-encrypted file, for demos, development and air-gapped nodes',
    )
    .addOption(
      fileOption(
        '--store <file>',
        'the store',
        'KEYFERRY_LOCAL_STORE',
        '/var/lib/keyferry/store.age',
      ),
    )
    .addOption(
      fileOption('--key <file>', 'its key', 'KEYFERRY_LOCAL_KEY', '/var/lib/keyferry/store.key'),
    );
  const storeFiles = (): StorePaths => {
    const { store, key } = local.opts<FileOptions>();
    return { storeFile: store, keyFile: key };
  };
  const writer = (): StoreWriter => new StoreWriter({ ...storeFiles(), now });
  const reader = (): StoreReader => new StoreReader({ ...storeFiles(), now });
  const printLine = (line: string): void => void stdout.write(`${line}\n`);
  const printNotice = (line: string): void => void stderr.write(`keyferry: ${line}\n`);

  local
    .command('init')
    .description('create an empty store, and its key if no key exists')
    .action(async () => {
      const { recipient, keyMade } = await writer().init();
      const { storeFile, keyFile } = storeFiles();
      printLine(`store  ${storeFile}`);
      const keyNote = keyMade
        ? 'new; without it the store cannot be read: keep a copy elsewhere'
        : 'unchanged';
      printLine(`key    ${keyFile} (${keyNote})`);
      printLine(`public ${recipient}`);
    });

  local
    .command('set <name>')
    .description('add a version of a secret, its value read from standard input, byte for byte')
    .option('-f, --from-file <file>', 'read the value from a file instead')
    .option('--trim-newline', 'remove one line break at the end of the value')
    .addHelpText(
      'after',
      '\nA value is never an argument, because other users can see arguments in the process list.\n' +
        '  printf %s "$PASSWORD" | keyferry local set eu/prod/db',
    )
    .action(
      async (
        name: string,
        { fromFile, trimNewline }: { fromFile?: string; trimNewline?: true },
      ) => {
        const input =
          fromFile === undefined
            ? await readInput(name, stdin, stop)
            : await readValueFile(fromFile);
        const value = trimNewline === true ? stripTrailingNewline(input) : input;
        const created = new Date(now()).toISOString();
        const { version, unchanged, dropped } = await writer().change((document) =>
          addVersion(document, name, value, created),
        );
        printLine(`${name} ${version}${unchanged ? ' (unchanged)' : ''}`);
        if (dropped.length > 0)
          printNotice(`${dropped.join(', ')} of ${name} removed to make space`);
        if (!unchanged && value.at(-1) === 0x0a)
          printNotice('the value ends with a line break; --trim-newline removes it');
      },
    );

  local
    .command('get <name>')
    .description('write the value of a secret to standard output, byte for byte')
    .option('--version <version>', 'v1, v2, ...; default: the latest')
    .action(async (name: string, { version }: { version?: string }) => {
      const { bytes } = findVersion(await reader().read(), name, version);
      await pipeline([bytes.reveal()], stdout, { end: false });
    });

  local
    .command('list')
    .description('list names, versions and dates; no values')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: true }) => {
      const rows = listSecrets(await reader().read());
      if (json === true) printLine(JSON.stringify(rows, undefined, 2));
      else for (const line of formatTable(rows)) printLine(line);
    });

  local
    .command('rm <name>')
    .description('remove a secret, or one version of it')
    .option('--version <version>', 'v1, v2, ...; default: all')
    .action(async (name: string, { version }: { version?: string }) => {
      await writer().change((document) => ({ document: removeVersions(document, name, version) }));
      printLine(`${name} ${version ?? ''}`.trimEnd().concat(' removed'));
    });

  local
    .command('rotate-key')
    .description('encrypt the store with a new key and remove the old one')
    .action(async () => {
      const { recipient } = await writer().rotateKey();
      printLine(`public ${recipient}`);
      printNotice('backups of the store still need the old key; back up both files again');
    });

  return local;
}

function fileOption(flags: string, description: string, variable: string, path: string): Option {
  return new Option(flags, description).env(variable).default(path);
}

async function readInput(
  name: string,
  stdin: LocalDeps['stdin'],
  stop: AbortSignal,
): Promise<Buffer> {
  if (stdin.isTTY === true)
    throw new SecretError(
      'INVALID_REQUEST',
      `the value for ${sanitizeUserText(name)} is read from standard input, which is a terminal`,
      {
        hint: `pipe it in: printf %s "$VALUE" | keyferry local set ${sanitizeUserText(name)}, or give --from-file`,
      },
    );
  return raceWithAbort(readAll(stdin), stop);
}

/** Stops one byte above the limit: that is enough to detect a value that is too large. */
async function readAll(stdin: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stdin) {
    const bytes = Buffer.from(chunk as Uint8Array | string);
    chunks.push(bytes);
    length += bytes.length;
    if (length > maxValueBytes + 1) break;
  }
  return Buffer.concat(chunks);
}

async function readValueFile(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new SecretError(
      'INVALID_REQUEST',
      `cannot read ${sanitizeUserText(file)}: ${sanitizeUserText(fileProblemOf(cause))}`,
      {
        hint: 'give --from-file a file that you can read',
        cause,
      },
    );
  }
}

function stripTrailingNewline(value: Buffer): Buffer {
  if (value.at(-1) !== 0x0a) return value;
  return value.subarray(0, value.at(-2) === 0x0d ? -2 : -1);
}

type Row = {
  readonly name: string;
  readonly versions: readonly { readonly version: string; readonly created: string }[];
};

function listSecrets(document: StoreDocument): readonly Row[] {
  return [...document]
    .filter(([, { versions }]) => versions.length > 0)
    .map(([name, { versions }]) => ({
      name,
      versions: versions.map(({ version, created }) => ({ version, created })),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function formatTable(rows: readonly Row[]): readonly string[] {
  const cells = rows.map(({ name, versions }) => {
    const latest = versions.at(-1);
    return [name, latest?.version ?? '', latest?.created ?? '', `${versions.length}`];
  });
  return tableLines([['NAME', 'LATEST', 'SET', 'VERSIONS'], ...cells], '  ');
}
