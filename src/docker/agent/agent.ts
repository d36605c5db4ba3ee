import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { withTimeout } from '../../concurrency/deadline.ts';
import { SecretError, toSecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type {
  AgentInfo,
  ProjectRegistration,
  RefreshRequest,
  RefreshResult,
  StoreCheck,
  StoreSecret,
} from '../agent-api.ts';
import type { DsoConfig } from '../config/types.ts';
import type { DsoRef } from '../model/reference.ts';
import type { Injection } from '../model/types.ts';
import { installShim } from '../volume/shim-file.ts';
import { checkStore } from './check-store.ts';
import { createControlApi, toFailureResponse } from './control-api.ts';
import { CreatedVolumes, isVolumeName } from './created-volumes.ts';
import {
  type DeliverContext,
  type Delivery,
  type Wanted,
  fileKey,
  instanceOf,
  variableKey,
} from './deliver.ts';
import { readProjectDocument } from './documents.ts';
import { type EffectiveStore, type HostConfig, effectiveStore } from './effective-store.ts';
import { JsonServer } from './json-server.ts';
import { readMountRecord, versionIn } from './mount-record.ts';
import { type KnownService, Projects } from './projects.ts';
import type { ServiceMounts } from './service-mounts.ts';
import { StateDirectory } from './state-file.ts';
import { statusOf } from './status.ts';
import type { Stores } from './stores.ts';
import { createVolumeDriver, pluginContentType, toDriverError } from './volume-driver.ts';

/** What a {@link DockerAgent} needs. */
export type DockerAgentOptions = {
  readonly version: string;
  readonly host: HostConfig & { readonly config: DsoConfig };
  readonly stores: Stores;
  /** Resolves all secrets of a service. */
  readonly deliver: (wanted: Wanted, context: DeliverContext) => Promise<Delivery>;
  readonly controlSocket: string;
  /** The number of the group that may use the control socket. Default: that of this process. */
  readonly controlGid?: number | undefined;
  readonly pluginSocket: string;
  /** A tmpfs; see `prepareTmpfs`. */
  readonly volumesDir: string;
  readonly stateDir: string;
  readonly shimDir: string;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** The engine waits two minutes for a mount, and the error must reach it before. */
const mountMs = 110_000;
const requestMs = 60_000;
/** Of services at once, when the secrets of all of them are read again. */
const refreshesAtOnce = 8;

/**
 * The host agent of `docker dso`: a volume driver of the container engine, and the API of the
 * plugin.
 */
export class DockerAgent {
  readonly #options: DockerAgentOptions;
  readonly #created: CreatedVolumes;
  readonly #control: JsonServer;
  readonly #plugin: JsonServer;
  readonly #inFlight = new Set<Promise<unknown>>();
  readonly #stop = new AbortController();
  #projects: Projects | undefined;
  #watch: NodeJS.Timeout | undefined;

  constructor(options: DockerAgentOptions) {
    const { controlSocket, controlGid, pluginSocket, stateDir, log } = options;
    this.#options = options;
    this.#created = new CreatedVolumes(join(stateDir, 'volumes'));
    this.#control = new JsonServer({
      ...{ path: controlSocket, flag: '--socket', mode: 0o660, gid: controlGid, log },
      contentType: 'application/json',
      maxBodyBytes: 64 * 1024 * 1024,
      handle: createControlApi({
        info: () => this.#info(),
        putProject: (name, registration) => this.#putProject(name, registration),
        deleteProject: (name) => this.#known.delete(name),
        services: (project) => this.#services(project),
        listSecrets: (name, signal) => this.#listSecrets(name, signal),
        checkStore: (name, signal) => this.#checkStore(name, signal),
        refresh: (request, signal) => this.#refresh(request, signal),
      }),
      onError: toFailureResponse,
    });
    this.#plugin = new JsonServer({
      ...{ path: pluginSocket, flag: '--plugin-socket', mode: 0o600, log },
      contentType: pluginContentType,
      maxBodyBytes: 64 * 1024,
      handle: createVolumeDriver({
        create: (name) => this.#created.add(name),
        remove: (name) => this.#remove(name),
        list: () => this.#created.list(),
        has: (name) => this.#created.has(name),
        pathOf: (name) => join(options.volumesDir, name),
        mount: (name, id, signal) => this.#track(this.#mount(name, id, signal)),
        unmount: (name, id) => this.#unmount(name, id),
      }),
      onError: toDriverError,
    });
  }

  /**
   * Reads the state of an earlier process, and listens.
   * @throws SecretError NOT_CONFIGURED
   */
  async start(): Promise<void> {
    const { volumesDir, stateDir, shimDir, deliver, log, now } = this.#options;
    // First, so that a second agent does not touch the files of the one that runs.
    await this.#control.start();
    try {
      const own = join(volumesDir, '.dso');
      const records = new StateDirectory(join(own, 'mounts'), { decode: readMountRecord, log });
      const shim = await installShim(shimDir, own);
      const documents = { decode: readProjectDocument, log };
      this.#projects = new Projects({
        documents: new StateDirectory(join(stateDir, 'projects'), documents),
        mountsDeps: { directory: volumesDir, shim, records, deliver, log, now },
        hasVolume: (name) => this.#created.has(name),
      });
      await this.#created.load();
      await this.#projects.load(await records.load());
      await this.#removeUnused();
      await this.#plugin.start();
    } catch (error) {
      this.#control.unbind();
      throw error;
    }
    this.#scheduleWatch(0);
  }

  /** Why the engine or the plugin cannot reach this agent; empty if they can. */
  problems(): readonly string[] {
    return [this.#control, this.#plugin].flatMap((server) => server.problem ?? []);
  }

  /** Whether a lease that was read for a service is still needed. */
  presence(instance: string): 'here' | 'gone' {
    const [project = '', service = ''] = instance.split('/');
    return this.#projects?.find(project, service)?.mounts.keepsLeases === true ? 'here' : 'gone';
  }

  /**
   * Stops listening, and finishes the mounts in flight. Mounts that take longer fail. The files of
   * running containers stay.
   */
  async drain(graceMs: number): Promise<void> {
    clearTimeout(this.#watch);
    this.#control.unbind();
    this.#plugin.unbind();
    const timer = setTimeout(() => this.#stop.abort(shuttingDown()), graceMs);
    await Promise.allSettled([...this.#inFlight]);
    clearTimeout(timer);
    this.#stop.abort(shuttingDown());
    await Promise.allSettled([...this.#inFlight]);
    // The last responses are on their way.
    await new Promise((resolve) => setTimeout(resolve, 50));
    this.#control.close();
    this.#plugin.close();
  }

  get #known(): Projects {
    if (this.#projects !== undefined) return this.#projects;
    throw new SecretError('NOT_CONFIGURED', 'the agent is starting', { hint: 'try again' });
  }

  async #mount(name: string, id: string, signal: AbortSignal): Promise<string> {
    const service = this.#known.ofVolume(name);
    const { injection } = service.wanted;
    const { project, service: serviceName } = injection;
    const startedAt = this.#options.now();
    try {
      const { path, isFirst } = await this.#limited(signal, mountMs, (context) =>
        service.mount(name, id, context),
      );
      this.#options.log[isFirst ? 'info' : 'debug'](
        {
          ...{ project, service: serviceName, volume: name, containers: service.containers },
          ms: this.#options.now() - startedAt,
          secrets: statusOf(service, (ref) => this.#storeNameOf(service, ref)).secrets.map(
            ({ name: target, source, store, version }) => ({ target, source, store, version }),
          ),
        },
        'delivered',
      );
      return path;
    } catch (thrown) {
      const error = toSecretError(thrown);
      this.#options.log.warn(
        { project, service: serviceName, volume: name, code: error.code, reason: error.summary },
        'a container cannot start',
      );
      throw error;
    }
  }

  async #unmount(name: string, id: string): Promise<void> {
    const service = this.#known.findByVolume(name);
    await service?.unmount(name, id);
    this.#options.log.debug({ volume: name, containers: service?.containers ?? 0 }, 'unmounted');
    await this.#known.tidy(name);
  }

  async #remove(name: string): Promise<void> {
    await this.#created.remove(name);
    await this.#known.tidy(name);
  }

  #info(): AgentInfo {
    const { version, host } = this.#options;
    const { providers, defaults, exec, agent } = host.config;
    return {
      ...{ version, configFile: host.file, exec },
      stores: Array.from(providers, ([name, { type, region, addresses, auth }]) => ({
        ...{ name, type },
        ...(region !== undefined && { region }),
        ...(addresses?.[0] !== undefined && { address: addresses[0] }),
        ...(auth !== undefined && { authMethod: auth.method }),
      })),
      ...(defaults.provider !== undefined && { defaultStore: defaults.provider }),
      pollingIntervalMs: agent.watch.pollingIntervalMs,
      hasGrants: agent.grants !== undefined,
    };
  }

  /** Refuses a project whose stores or paths cannot be, before its containers start. */
  async #putProject(name: string, registration: ProjectRegistration): Promise<void> {
    for (const injection of registration.services)
      for (const ref of refsOf(injection)) {
        const store = effectiveStore(ref.provider, registration.stores, this.#options.host);
        const { store: opened } = await this.#options.stores.open(store);
        opened.refFor(ref.path);
      }
    const changed = await this.#known.put(name, registration);
    this.#options.log.info({ project: name, services: registration.services.length }, 'registered');
    // Compose does not see that a reference has changed, so it may not start the container again.
    for (const service of changed) void this.#refreshOne(service);
  }

  #services(project: string | undefined) {
    return this.#known
      .list(project)
      .filter(({ state, mounts }) => state === 'current' || mounts.isInUse)
      .map(({ mounts }) => statusOf(mounts, (ref) => this.#storeNameOf(mounts, ref)));
  }

  async #listSecrets(name: string, signal: AbortSignal): Promise<readonly StoreSecret[]> {
    const { store } = await this.#options.stores.open(this.#storeOfHost(name));
    const { list } = store;
    if (list === undefined)
      throw new SecretError('INVALID_REQUEST', `the store ${name} cannot list its secrets`, {
        hint: 'use the tools of the store',
      });
    const listed = await this.#limited(signal, requestMs, (context) => list(context.signal));
    return listed.map((secret) => ({
      ...secret,
      usedBy: this.#usersOf(name, secret.path).map(({ mounts }) =>
        instanceOf(mounts.wanted.injection),
      ),
    }));
  }

  async #checkStore(name: string, signal: AbortSignal): Promise<StoreCheck> {
    const { store } = await this.#options.stores.open(this.#storeOfHost(name));
    return this.#limited(signal, requestMs, (context) => checkStore(store, context.signal));
  }

  async #refresh({ store, path }: RefreshRequest, signal: AbortSignal): Promise<RefreshResult> {
    const { name } = this.#storeOfHost(store);
    const users = this.#usersOf(name, path).filter(({ mounts }) => mounts.isInUse);
    const services: { name: string; changed: boolean }[] = [];
    let version: string | undefined;
    for (const { mounts } of users) {
      await this.#limited(signal, mountMs, (context) =>
        mounts.refresh({ ...context, refresh: true }),
      );
      const keys = this.#keysOf(mounts, name, path);
      for (const key of keys) version ??= versionIn(mounts.current, key);
      services.push({
        name: instanceOf(mounts.wanted.injection),
        changed: mounts.hasChanged(keys),
      });
    }
    return { store: name, ...(version !== undefined && { version }), services };
  }

  /** Reads the secrets of all running services again, and writes those that have changed. */
  async #refreshAll(): Promise<void> {
    const services = this.#known
      .list()
      .filter(({ state, mounts }) => state !== 'lost' && mounts.isInUse);
    const refreshNext = async (): Promise<void> => {
      for (let next = services.pop(); next !== undefined; next = services.pop())
        await this.#refreshOne(next.mounts);
    };
    await Promise.all(Array.from({ length: refreshesAtOnce }, refreshNext));
  }

  async #refreshOne(service: ServiceMounts): Promise<void> {
    const { project, service: name } = service.wanted.injection;
    const { log } = this.#options;
    try {
      const isChanged = await this.#limited(this.#stop.signal, mountMs, (context) =>
        service.refresh(context),
      );
      if (isChanged)
        log.info({ project, service: name, stale: service.isStale }, 'secrets changed');
    } catch (thrown) {
      const { code, summary } = toSecretError(thrown);
      log.warn({ project, service: name, code, reason: summary }, 'secrets cannot be read again');
    }
  }

  #scheduleWatch(ms: number): void {
    if (this.#stop.signal.aborted) return;
    this.#watch = setTimeout(() => {
      void this.#refreshAll().finally(() =>
        this.#scheduleWatch(this.#options.host.config.agent.watch.pollingIntervalMs),
      );
    }, ms);
    this.#watch.unref();
  }

  #usersOf(storeName: string, path: string): readonly KnownService[] {
    return this.#known
      .list()
      .filter(({ mounts }) => this.#keysOf(mounts, storeName, path).length > 0);
  }

  /** The keys of what a service has from a secret. */
  #keysOf(service: ServiceMounts, store: string, path: string): readonly string[] {
    const { variables, files } = service.wanted.injection;
    const isFrom = (ref: DsoRef): boolean =>
      ref.path === path && this.#storeNameOf(service, ref) === store;
    return [
      ...variables.filter(({ ref }) => isFrom(ref)).map(({ name }) => variableKey(name)),
      ...files.filter(({ ref }) => isFrom(ref)).map((file) => fileKey(file.path)),
    ];
  }

  /** A store of the host's configuration. */
  #storeOfHost(name: string | undefined): EffectiveStore {
    return effectiveStore(name, {}, this.#options.host);
  }

  #storeNameOf({ wanted }: ServiceMounts, { provider }: DsoRef): string {
    try {
      return effectiveStore(provider, wanted.stores, this.#options.host).name;
    } catch {
      // The configuration has changed since.
      return provider ?? '';
    }
  }

  async #limited<T>(
    signal: AbortSignal,
    ms: number,
    work: (context: DeliverContext) => Promise<T>,
  ): Promise<T> {
    const deadline = this.#options.now() + ms;
    const either = AbortSignal.any([signal, this.#stop.signal]);
    return withTimeout(
      ms,
      either,
      () => tooSlow(ms),
      (limited) => work({ signal: limited, deadline }),
    );
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#inFlight.add(work);
    const remove = (): void => void this.#inFlight.delete(work);
    work.then(remove, remove);
    return work;
  }

  /** Volumes without a record: an earlier process was killed while it wrote them. */
  async #removeUnused(): Promise<void> {
    const { volumesDir, log } = this.#options;
    for (const name of await readdir(volumesDir)) {
      if (!isVolumeName(name) || this.#known.findByVolume(name)?.isInUse === true) continue;
      log.info(
        { volume: sanitizeUserText(name) },
        'removed the files of a volume that no container has',
      );
      await rm(join(volumesDir, name), { recursive: true, force: true });
    }
  }
}

function refsOf({ variables, files }: Injection): readonly DsoRef[] {
  return [...variables, ...files].map(({ ref }) => ref);
}

function tooSlow(ms: number): SecretError {
  return new SecretError('DEADLINE', `the secrets were not read within ${ms / 1_000} s`, {
    hint: 'check that this host reaches the store: docker dso system doctor',
  });
}

function shuttingDown(): SecretError {
  return new SecretError('SHUTTING_DOWN', 'the agent of docker dso stops', {
    hint: 'start the container again when the agent runs',
  });
}
