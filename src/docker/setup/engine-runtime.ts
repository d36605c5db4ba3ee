import { readFile, realpath, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { isThere } from '../../files/is-there.ts';
import { makeDirectory, replaceHostFile, writeError } from '../host/host-files.ts';
import { runtimeName } from '../model/runtime.ts';
import { type RunProgram, runOrThrow } from '../run-program.ts';
import { readRuntime, withRuntime, withoutRuntime } from './daemon-json.ts';
import { type Places, runtimeProgram } from './places.ts';
import { type Removal, type Step, titleOf } from './steps.ts';

/** What an {@link EngineRuntime} needs. */
export type EngineRuntimeOptions = {
  readonly places: Places;
  /** The program of the runtime, as the host sees it. */
  readonly program: string;
  /** Whether the engine of these places runs here. */
  readonly isHost: boolean;
  readonly run: RunProgram;
  /** How long the engine may take to read its configuration. Default: 10 s. */
  readonly reloadMs?: number;
};

const flagsHint = (flag: string, program: string): string =>
  flag === '--add-runtime'
    ? `add --add-runtime ${runtimeName}=${program} there, and restart Docker: it does not start with runtimes in both places`
    : `add the runtime ${runtimeName} with the path ${program} to that file, and reload Docker`;

/** Registers the runtime in the configuration of the engine, and takes it back. */
export class EngineRuntime {
  readonly #options: EngineRuntimeOptions;

  constructor(options: EngineRuntimeOptions) {
    this.#options = options;
  }

  /** The registration. */
  step(): Step {
    const { places, program, isHost } = this.#options;
    const file = places.engineConfig;
    return {
      title: titleOf('runtime', `${runtimeName} in ${file}`),
      isDone: async () => {
        const text = await this.#read();
        if (readRuntime(text, file).program !== program) return false;
        return !isHost || (await this.#programOfEngine()) === program;
      },
      apply: async () => {
        if (isHost) await this.#refuseOtherConfiguration();
        const before = await this.#read();
        const after = withRuntime(before, file, program);
        await this.#replace(after, before);
        if (!isHost) return;
        try {
          await this.#reload();
          await this.#expectRuntime();
        } catch (thrown) {
          // With a configuration that it refuses, the engine would not start again.
          await this.#restore(before);
          throw thrown;
        }
      },
    };
  }

  /** The way back. A container that uses the runtime could not be stopped without its program. */
  removal(): Removal {
    const { places, program, isHost } = this.#options;
    const file = places.engineConfig;
    const installed = join(places.library, runtimeProgram);
    return {
      title: titleOf('runtime', `${runtimeName} in ${file}`),
      isThere: async () => (await this.#isRegistered()) || isThere(installed),
      remove: async () => {
        // Without an entry in the file, the engine can have it by a flag.
        if (isHost) await this.#refuseInUse();
        if (!(await this.#isRegistered())) return false;
        const text = await this.#read();
        if (readRuntime(text, file).isDefault)
          throw new SecretError(
            'NOT_CONFIGURED',
            `${runtimeName} is the default-runtime of ${sanitizeUserText(file)}`,
            { hint: 'choose another default-runtime first, and make the containers again' },
          );
        const { reloaded, after } = withoutRuntime(text, file);
        if (isHost) {
          await this.#restore(reloaded);
          await this.#reload();
          await this.#waitUntil((found) => found !== program);
        }
        await this.#restore(after);
        await rm(this.#backup, { force: true });
        return true;
      },
    };
  }

  async #isRegistered(): Promise<boolean> {
    const { places, program } = this.#options;
    const text = await this.#read();
    return text.includes(program) && readRuntime(text, places.engineConfig).program === program;
  }

  get #backup(): string {
    return `${this.#options.places.engineConfig}.before-dso`;
  }

  async #read(): Promise<string> {
    try {
      return await readFile(this.#options.places.engineConfig, 'utf8');
    } catch (thrown) {
      if (errorCodeOf(thrown) === 'ENOENT') return '';
      throw writeError(this.#options.places.engineConfig, thrown);
    }
  }

  async #replace(text: string, before: string): Promise<void> {
    const { engineConfigDirectory, engineConfig } = this.#options.places;
    const mode = await modeOf(engineConfig);
    if (!(await isThere(engineConfigDirectory))) await makeDirectory(engineConfigDirectory, 0o755);
    const isRegistered = readRuntime(before, engineConfig).program === this.#options.program;
    if (before !== '' && !isRegistered) await replaceHostFile(this.#backup, before, mode);
    await replaceHostFile(engineConfig, text, mode);
  }

  /** @param text empty: there was no file */
  async #restore(text: string): Promise<void> {
    const { engineConfig } = this.#options.places;
    if (text === '') await rm(engineConfig, { force: true });
    else await replaceHostFile(engineConfig, text, await modeOf(engineConfig));
  }

  /** The engine reads its configuration again at SIGHUP. */
  async #reload(): Promise<void> {
    const { places, run } = this.#options;
    const hint = 'start Docker, and call the command again; see: journalctl -u docker';
    if (await isThere(places.systemd)) {
      await runOrThrow(run, 'systemctl', ['reload', 'docker.service'], hint);
      return;
    }
    const pid = await this.#enginePid();
    if (pid === undefined)
      throw new SecretError('NOT_CONFIGURED', 'Docker does not run here', {
        hint: `start it: it writes ${places.enginePid}`,
      });
    // Not every host has the program kill.
    await runOrThrow(run, 'sh', ['-c', 'kill -HUP "$0"', pid], hint);
  }

  async #expectRuntime(): Promise<void> {
    const { program, places } = this.#options;
    if (await this.#waitUntil((found) => found === program)) return;
    throw new SecretError(
      'NOT_CONFIGURED',
      `Docker has not taken the runtime from ${sanitizeUserText(places.engineConfig)}, which is as it was`,
      { hint: 'see why in the log of Docker: journalctl -u docker' },
    );
  }

  /** @returns whether the engine has such a program in time */
  async #waitUntil(isReached: (program: string | undefined) => boolean): Promise<boolean> {
    const { reloadMs = 10_000 } = this.#options;
    for (const deadline = Date.now() + reloadMs; ; await sleep(100)) {
      if (isReached(await this.#programOfEngine())) return true;
      if (Date.now() > deadline) return false;
    }
  }

  async #programOfEngine(): Promise<string | undefined> {
    const format = `{{with index .Runtimes "${runtimeName}"}}{{.Path}}{{end}}`;
    const { code, stdout } = await this.#options.run('docker', ['info', '--format', format]);
    return code === 0 ? stdout.trim() : undefined;
  }

  async #enginePid(): Promise<string | undefined> {
    const text = await readFile(this.#options.places.enginePid, 'utf8').catch(() => '');
    return /^\d+$/.test(text.trim()) ? text.trim() : undefined;
  }

  /** An engine with runtimes in its flags, or with another file, cannot take ours from here. */
  async #refuseOtherConfiguration(): Promise<void> {
    const { places, program } = this.#options;
    const pid = await this.#enginePid();
    if (pid === undefined) return;
    const words = await readFile(join('/proc', pid, 'cmdline'), 'utf8').catch(() => '');
    for (const [index, word] of words.split('\0').entries()) {
      const [flag = '', value = words.split('\0')[index + 1] ?? ''] = word.split('=');
      const isOther = flag === '--config-file' && !(await isSameFile(value, places.engineConfig));
      if (flag === '--add-runtime' || isOther)
        throw new SecretError(
          'NOT_CONFIGURED',
          `Docker runs with ${sanitizeUserText(`${flag} ${value}`)}`,
          { hint: flagsHint(flag, program) },
        );
    }
  }

  async #refuseInUse(): Promise<void> {
    const { run } = this.#options;
    const unknown = new SecretError(
      'NOT_CONFIGURED',
      'Docker does not respond, so nothing says which containers use the runtime',
      { hint: 'start Docker, and call the command again' },
    );
    const listed = await run('docker', ['ps', '--all', '--quiet', '--no-trunc']);
    if (listed.code !== 0) throw unknown;
    const ids = listed.stdout.split('\n').filter((id) => id !== '');
    const format = '{{.HostConfig.Runtime}} {{.Name}}';
    const users: string[] = [];
    for (let start = 0; start < ids.length; start += 200) {
      const batch = ids.slice(start, start + 200);
      const inspect = ['container', 'inspect', '--format', format, ...batch];
      const { code, stdout } = await run('docker', inspect);
      // A container that has just gone makes it fail, and it prints the others.
      if (code !== 0 && stdout.trim() === '') throw unknown;
      for (const line of stdout.split('\n')) {
        const [runtime, name = ''] = line.split(' ');
        if (runtime === runtimeName) users.push(name.replace(/^\//, ''));
      }
    }
    if (users.length === 0) return;
    throw new SecretError(
      'NOT_CONFIGURED',
      `containers use the runtime ${runtimeName}: ${sanitizeUserText(users.join(', '))}`,
      { hint: 'remove them first: docker dso down in their projects, or docker rm' },
    );
  }
}

async function isSameFile(path: string, other: string): Promise<boolean> {
  const [one, two] = await Promise.all(
    [path, other].map((each) => realpath(each).catch(() => each)),
  );
  return one === two;
}

async function modeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ mode }) => mode & 0o777,
    () => 0o644,
  );
}
