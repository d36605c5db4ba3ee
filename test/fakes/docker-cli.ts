import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** One call of {@link createFakeDocker}. */
export type DockerCall = {
  readonly args: readonly string[];
  /** What it read from `/dev/fd/3`, if `--file` named it. */
  readonly model?: Record<string, unknown>;
  /** What it read from standard input, if it was told to. */
  readonly stdin?: string;
};

/** What the fake says to calls whose words, joined by spaces, match. The first match counts. */
export type DockerAnswer = {
  /** A regular expression. */
  readonly when: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: number;
  /** It only ends when it gets a signal; its exit code is then 42. */
  readonly waits?: boolean;
  readonly readsStdin?: boolean;
  /** The answer counts only if this many calls before have matched it. */
  readonly after?: number;
};

/** Plays `docker`: it records its calls and answers from a list. */
const program = `#!${process.execPath}
const { appendFileSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const args = process.argv.slice(2);
const line = args.join(' ');
const read = (name) => JSON.parse(readFileSync(join(__dirname, name), 'utf8'));
const before = readFileSync(join(__dirname, 'calls.jsonl'), 'utf8').split('\\n').slice(0, -1)
  .map((text) => JSON.parse(text).args.join(' '));
const answer = read('answers.json').find(({ when, after = 0 }) =>
  new RegExp(when).test(line) && before.filter((call) => new RegExp(when).test(call)).length >= after) ?? {};
const call = { args };
if (line.includes('--file /dev/fd/3')) call.model = JSON.parse(readFileSync('/dev/fd/3', 'utf8'));
if (answer.readsStdin) call.stdin = readFileSync(0, 'utf8');
appendFileSync(join(__dirname, 'calls.jsonl'), JSON.stringify(call) + '\\n');
if (answer.waits) {
  process.on('SIGTERM', () => process.exit(42));
  setInterval(() => {}, 1000);
}
process.stdout.write(answer.stdout ?? '');
process.stderr.write(answer.stderr ?? '');
process.exitCode = answer.code ?? 0;
`;

/** Makes an executable `docker` in the directory. */
export async function createFakeDocker(directory: string) {
  const bin = join(directory, 'bin');
  await mkdir(bin);
  await writeFile(join(bin, 'docker'), program);
  await chmod(join(bin, 'docker'), 0o755);
  await writeFile(join(bin, 'package.json'), '{"type":"commonjs"}');
  const callsFile = join(bin, 'calls.jsonl');
  await writeFile(callsFile, '');
  await writeFile(join(bin, 'answers.json'), '[]');
  return {
    bin,
    answer: (answers: readonly DockerAnswer[]): Promise<void> =>
      writeFile(join(bin, 'answers.json'), JSON.stringify(answers)),
    async calls(): Promise<readonly DockerCall[]> {
      const lines = (await readFile(callsFile, 'utf8')).split('\n').slice(0, -1);
      return lines.map((line) => JSON.parse(line) as DockerCall);
    },
  };
}

/** See {@link createFakeDocker}. */
export type FakeDocker = Awaited<ReturnType<typeof createFakeDocker>>;
