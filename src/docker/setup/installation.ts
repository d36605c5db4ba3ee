import { lstat, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { type StoreType, storeTypes } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { isThere } from '../../files/is-there.ts';
import { changeStore } from '../config/change-store.ts';
import { readDsoConfig } from '../config/read.ts';
import { replaceHostFile } from '../host/host-files.ts';
import { agentContainer, containerLabel } from './container.ts';
import { EngineRuntime } from './engine-runtime.ts';
import {
  type Places,
  containerName,
  placesBelow,
  programFiles,
  runtimeFile,
  runtimeProgram,
  unitName,
} from './places.ts';
import { type RunProgram, runOrThrow } from '../run-program.ts';
import {
  type Removal,
  type Step,
  copyStep,
  directoryRemoval,
  directoryStep,
  fileRemoval,
  fileStep,
  hasMark,
  linkOf,
  linkStep,
  missingIn,
  titleOf,
} from './steps.ts';
import { agentUnit, unitMark } from './unit.ts';

/** How the agent runs. */
export type AgentKind = 'systemd' | 'container' | 'other';

/** What an {@link Installation} needs. */
export type InstallationOptions = {
  /** `/`, or the root of an image of a host. Programs of an image are not started. */
  readonly root: string;
  /** The root that is this host. Default `/`. */
  readonly hostRoot?: string;
  readonly run: RunProgram;
  /** The file of the plugin, beside which a release has its other files. */
  readonly program: string;
  /** The file of Node. */
  readonly node: string;
};

/** Installs the agent and the plugin on a host, and removes them. */
export class Installation {
  readonly places: Places;
  readonly #options: InstallationOptions;
  readonly #isHost: boolean;

  constructor(options: InstallationOptions) {
    this.places = placesBelow(options.root);
    this.#options = options;
    this.#isHost = options.root === (options.hostRoot ?? '/');
  }

  /** The unit if systemd runs, or if the root is that of an image. */
  async kind(wantsContainer: boolean): Promise<AgentKind> {
    if (wantsContainer) return 'container';
    const hasSystemd = !this.#isHost || (await isThere(this.places.systemd));
    return hasSystemd ? 'systemd' : 'other';
  }

  /**
   * The parts of an installation, in their order.
   * @param image of the agent's container
   * @param wantsRuntime whether the engine gets the runtime
   * @throws SecretError if the release is not complete, or the agent runs in the other way
   */
  async steps(
    kind: AgentKind,
    providers: readonly StoreType[],
    image: string,
    wantsRuntime = false,
  ): Promise<readonly Step[]> {
    await this.#refuseSecondAgent(kind);
    const { configDirectory, stateDirectory } = this.places;
    const files = kind === 'container' ? ['docker-dso'] : programFiles.map(({ name }) => name);
    // An upgrade replaces the runtime as well.
    const runtime = join(this.places.library, runtimeProgram);
    const hasRuntime = wantsRuntime || (await isThere(runtime));
    const source = await this.#sourceOf(files, hasRuntime);
    const isNodeCopied = kind !== 'container' && (await isUnsafe(this.#options.node));
    const node = isNodeCopied ? join(this.places.library, 'node') : this.#options.node;
    const nodeOnHost = isNodeCopied ? join(placesBelow('/').library, 'node') : node;
    return watchChanges((hasChanged) => [
      ...(source === this.places.library
        ? []
        : files.map((name) =>
            copyStep(join(source, name), join(this.places.library, name), 0o755),
          )),
      ...(isNodeCopied ? [copyStep(this.#options.node, node, 0o755)] : []),
      ...(hasRuntime && source !== this.places.library
        ? [copyStep(join(source, runtimeFile), runtime, 0o755)]
        : []),
      linkStep(this.places.plugin, join(this.places.library, 'docker-dso')),
      directoryStep(configDirectory, 0o755),
      directoryStep(stateDirectory, 0o700),
      ...providers.map((type) => this.#storeStep(type)),
      ...(kind === 'systemd' ? this.#unitSteps(nodeOnHost, hasChanged) : []),
      ...(kind === 'container' ? this.#containerSteps(image, hasChanged) : []),
      ...(wantsRuntime ? [this.#engineRuntime().step()] : []),
    ]);
  }

  /** What an installation of any kind has made, in the order in which it is taken away. */
  removals(): readonly Removal[] {
    const { library, plugin, unit, runDirectory, volumesDirectory } = this.places;
    const { run, root } = this.#options;
    const linkTarget = join(library, 'docker-dso');
    return [
      // First: it refuses while containers need the runtime.
      this.#engineRuntime().removal(),
      {
        title: titleOf('stopped', unitName),
        isThere: () => hasMark(unit, unitMark),
        remove: async () => {
          const args = this.#isHost ? ['disable', '--now'] : [`--root=${root}`, 'disable'];
          return runOrThrow(
            run,
            'systemctl',
            [...args, unitName],
            'stop the agent, then try again',
          );
        },
      },
      fileRemoval(titleOf('unit', unit), unit, () => hasMark(unit, unitMark)),
      ...(this.#isHost ? [this.#reload(), this.#containerRemoval()] : []),
      fileRemoval(titleOf('plugin', plugin), plugin, async () => {
        const target = await linkOf(plugin);
        return target !== undefined && join(dirname(plugin), target) === linkTarget;
      }),
      ...[...programFiles.map(({ name }) => name), 'node', runtimeProgram].map((name) => {
        const path = join(library, name);
        return fileRemoval(titleOf('program', path), path);
      }),
      directoryRemoval(join(library, 'shim')),
      directoryRemoval(library),
      ...(this.#isHost ? [this.#tmpfsRemoval(volumesDirectory, runDirectory)] : []),
    ];
  }

  #engineRuntime(): EngineRuntime {
    const { run } = this.#options;
    const { library } = this.#isHost ? this.places : placesBelow('/');
    const program = join(library, runtimeProgram);
    return new EngineRuntime({ places: this.places, program, isHost: this.#isHost, run });
  }

  async #refuseSecondAgent(kind: AgentKind): Promise<void> {
    const hasUnit = await isThere(this.places.unit);
    if (kind === 'container' && hasUnit)
      throw twoAgents('the agent runs as a unit of systemd already');
    if (kind === 'systemd' && this.#isHost && (await this.#container()) !== undefined)
      throw twoAgents('the agent runs as a container already');
  }

  /** @throws SecretError NOT_CONFIGURED */
  async #sourceOf(files: readonly string[], hasRuntime: boolean): Promise<string> {
    const source = dirname(await realpath(this.#options.program));
    // Called from the library itself, it finds the runtime there by its other name.
    const runtime = source === this.places.library ? runtimeProgram : runtimeFile;
    const [missing] = await missingIn(source, [...files, ...(hasRuntime ? [runtime] : [])]);
    if (missing === undefined) return source;
    throw new SecretError(
      'NOT_CONFIGURED',
      `${missing} is not beside the plugin, in ${sanitizeUserText(source)}`,
      {
        hint: 'call system setup of the whole release: make build shim makes it in dist/, then run dist/docker-dso system setup',
      },
    );
  }

  #storeStep(type: StoreType): Step {
    const { configFile } = this.places;
    const read = async (): Promise<string> =>
      readFile(configFile, 'utf8').catch((thrown: unknown) => {
        if (errorCodeOf(thrown) === 'ENOENT') return '';
        throw thrown;
      });
    const hasStore = (text: string): boolean =>
      [...(readDsoConfig(text, configFile).config?.providers.values() ?? [])].some(
        (store) => store.type === type,
      );
    return {
      title: titleOf('store', `${type} in ${configFile}`),
      isDone: async () => hasStore(await read()),
      async apply() {
        const change = { name: type, type, settings: new Map(), auth: { params: new Map() } };
        const { text } = changeStore(await read(), configFile, change);
        const [error] = readDsoConfig(text, configFile).problems.filter(
          ({ severity }) => severity === 'error',
        );
        if (error !== undefined)
          throw new SecretError(
            'NOT_CONFIGURED',
            `${type} cannot be added to ${sanitizeUserText(configFile)}: ${error.message}`,
            { hint: error.hint },
          );
        const mode = await stat(configFile).then(
          (found) => found.mode & 0o777,
          () => 0o600,
        );
        await replaceHostFile(configFile, text, mode);
      },
    };
  }

  #unitSteps(node: string, hasChanged: () => boolean): readonly Step[] {
    const { run, root } = this.#options;
    const systemctl = async (...args: readonly string[]): Promise<void> => {
      await runOrThrow(
        run,
        'systemctl',
        args,
        `see: systemctl status ${unitName}; journalctl -u ${unitName}`,
      );
    };
    const succeeds = async (...args: readonly string[]): Promise<boolean> =>
      (await run('systemctl', args)).code === 0;
    const rootArgs = this.#isHost ? [] : [`--root=${root}`];
    const unit = fileStep('unit', this.places.unit, agentUnit(node), unitMark);
    const enable: Step = {
      title: titleOf('enabled', `${unitName}, before docker.service`),
      isDone: () => succeeds(...rootArgs, 'is-enabled', '--quiet', unitName),
      apply: () => systemctl(...rootArgs, 'enable', '--quiet', unitName),
    };
    if (!this.#isHost) return [unit, enable];
    const reloading: Step = {
      ...unit,
      async apply() {
        await unit.apply();
        await systemctl('daemon-reload');
      },
    };
    const started: Step = {
      title: titleOf('started', unitName),
      isDone: async () => !hasChanged() && (await succeeds('is-active', '--quiet', unitName)),
      apply: () => systemctl('restart', unitName),
    };
    return [reloading, enable, started];
  }

  #containerSteps(image: string, hasChanged: () => boolean): readonly Step[] {
    const { run } = this.#options;
    const { environmentFile, engineSocket, runDirectory, pluginSocketDirectory } = this.places;
    const hint = 'see: docker logs dso-container';
    const agent = async () =>
      agentContainer(image, {
        hasEnvironmentFile: await isThere(environmentFile),
        hasEngineSocket: await isThere(engineSocket),
      });
    return [
      directoryStep(runDirectory, 0o755),
      directoryStep(pluginSocketDirectory, 0o755),
      {
        title: titleOf('container', containerName),
        isDone: async () => {
          const found = await this.#container();
          const { digest } = await agent();
          return !hasChanged() && found?.isRunning === true && found.digest === digest;
        },
        apply: async () => {
          if ((await run('docker', ['image', 'inspect', image])).code !== 0)
            throw new SecretError(
              'NOT_CONFIGURED',
              `there is no image ${sanitizeUserText(image)}`,
              {
                hint: 'pull it or build it with make image-docker, or name another one with --image',
              },
            );
          if ((await this.#container()) !== undefined)
            await runOrThrow(run, 'docker', ['rm', '--force', containerName], hint);
          await runOrThrow(run, 'docker', (await agent()).words, sharedMountHint);
        },
      },
    ];
  }

  /** Undefined if `setup` has made no container. */
  async #container(): Promise<
    { readonly isRunning: boolean; readonly digest: string } | undefined
  > {
    const format = `{{.State.Running}} {{index .Config.Labels "${containerLabel}"}}`;
    const args = ['container', 'inspect', '--format', format, containerName];
    const { code, stdout } = await this.#options.run('docker', args);
    const [running, digest = ''] = stdout.trim().split(' ');
    if (code !== 0 || !/^[0-9a-f]+$/.test(digest)) return undefined;
    return { isRunning: running === 'true', digest };
  }

  #reload(): Removal {
    const { run } = this.#options;
    return {
      title: titleOf('reloaded', 'systemd'),
      isThere: () => hasMark(this.places.unit, unitMark),
      remove: () =>
        runOrThrow(run, 'systemctl', ['daemon-reload'], 'call systemctl daemon-reload yourself'),
    };
  }

  #containerRemoval(): Removal {
    return {
      title: titleOf('container', containerName),
      isThere: async () => (await this.#container()) !== undefined,
      remove: () =>
        runOrThrow(
          this.#options.run,
          'docker',
          ['rm', '--force', containerName],
          'remove it with docker rm --force dso-container',
        ),
    };
  }

  /** Containers that run keep the files that they have mounted, so the unmount is a lazy one. */
  #tmpfsRemoval(volumesDirectory: string, runDirectory: string): Removal {
    return {
      title: titleOf('tmpfs', volumesDirectory),
      async isThere() {
        const [own, parent] = await Promise.all(
          [volumesDirectory, runDirectory].map((path) => lstat(path).catch(() => undefined)),
        );
        return own !== undefined && parent !== undefined && own.dev !== parent.dev;
      },
      remove: () =>
        runOrThrow(
          this.#options.run,
          'umount',
          ['--lazy', volumesDirectory],
          'it goes with the next start of the host',
        ),
    };
  }
}

const sharedMountHint =
  'see: docker logs dso-container; if the mount of /run is not shared: mount --make-rshared /run';

function twoAgents(message: string): SecretError {
  return new SecretError('INVALID_REQUEST', message, {
    hint: 'call docker dso system uninstall first: two agents cannot have one socket',
  });
}

/** The last steps need to know whether one before them has changed something. */
function watchChanges(make: (hasChanged: () => boolean) => readonly Step[]): readonly Step[] {
  let isChanged = false;
  return make(() => isChanged).map((step) => ({
    ...step,
    async apply() {
      await step.apply();
      isChanged = true;
    },
  }));
}

/** Root must not run a program that a user can change, and a unit may not see homes. */
async function isUnsafe(program: string): Promise<boolean> {
  const path = await realpath(program);
  if (/^\/(home|root|tmp|var\/tmp)\//.test(path)) return true;
  const { uid, mode } = await stat(path);
  return uid !== 0 || (mode & 0o022) !== 0;
}

/** `huawei,aws` as types of stores. @throws SecretError INVALID_REQUEST */
export function readProviderNames(text: string): readonly StoreType[] {
  return text.split(',').map((name) => {
    const type = storeTypes.find((each) => each === name.trim());
    if (type !== undefined) return type;
    throw new SecretError('INVALID_REQUEST', `there is no provider ${sanitizeUserText(name)}`, {
      hint: `the providers are ${storeTypes.join(', ')}`,
    });
  });
}
