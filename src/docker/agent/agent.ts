import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { raceWithAbort } from '../../concurrency/deadline.ts';
import { SecretError, toSecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import {
  type AgentInfo,
  type ProjectRegistration,
  type ServiceStatus,
  toFailure,
} from '../agent-api.ts';
import type { DeliverContext, Delivery, Wanted } from '../delivery/deliver.ts';
import { readProjectDocument } from '../delivery/documents.ts';
import { type WholeHostConfig, checkReferences, describeHost } from '../delivery/host-requests.ts';
import { StateDirectory } from '../delivery/state-file.ts';
import { statusOf } from '../delivery/status.ts';
import { storeNameOf } from '../delivery/store-names.ts';
import type { Stores } from '../delivery/stores.ts';
import type { Engine, StartedContainer } from '../engine/engine.ts';
import { composeLabels } from '../model/labels.ts';
import { isVolumeName } from '../model/volumes.ts';
import { RotationMetrics } from '../rotation/metrics.ts';
import { type RotationDelays, Rotator } from '../rotation/rotator.ts';
import type { Owing } from '../rotation/strategies.ts';
import { installShim } from '../volume/shim-file.ts';
import { BegunRestarts } from './begun-restarts.ts';
import { createControlApi, toFailureResponse } from './control-api.ts';
import { CreatedVolumes } from './created-volumes.ts';
import { EngineRecovery, type RecoveryDelays } from './engine-recovery.ts';
import { type Handle, JsonServer } from './json-server.ts';
import { LeaseKeeper, type LeaseKeeperDeps } from './lease-keeper.ts';
import { readMountRecord } from './mount-record.ts';
import { createPlugin, pluginContentType, toPluginError } from './plugin-protocol.ts';
import { Projects } from './projects.ts';
import type { RecentLog } from './recent-log.ts';
import { RequestLimits } from './request-limits.ts';
import { secretProvider } from './secret-provider.ts';
import { SecretWatch } from './secret-watch.ts';
import type { ServiceMounts } from './service-mounts.ts';
import { StoreRequests } from './store-requests.ts';
import { SwarmSecrets, isOfSwarm } from './swarm-secrets.ts';
import { volumeDriver } from './volume-driver.ts';

/** What a {@link DockerAgent} needs. */
export type DockerAgentOptions = {
  readonly version: string;
  readonly host: WholeHostConfig;
  readonly stores: Stores;
  /** Resolves all secrets of a service. */
  readonly deliver: (wanted: Wanted, context: DeliverContext) => Promise<Delivery>;
  /** The leases of all services; see LeaseKeeper. */
  readonly leases: LeaseKeeperDeps['leases'];
  readonly controlSocket: string;
  /** The number of the group that may use the control socket. Default: that of this process. */
  readonly controlGid?: number | undefined;
  readonly pluginSocket: string;
  /** A tmpfs; see `prepareTmpfs`. */
  readonly volumesDir: string;
  readonly stateDir: string;
  readonly shimDir: string;
  /** Absent: the agent asks nothing of the engine. */
  readonly engine?: Engine | undefined;
  readonly recoveryDelays?: RecoveryDelays | undefined;
  readonly rotationDelays?: RotationDelays | undefined;
  readonly registry: Registry;
  readonly log: Logger;
  /** The last lines of that log. */
  readonly recentLog: Pick<RecentLog, 'read'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** The engine waits two minutes for a mount, and the error must reach it before. */
const mountMs = 110_000;

/**
 * The host agent of `docker dso`: a volume driver of the container engine, a provider of secrets
 * for a swarm, and the API of the plugin.
 */
export class DockerAgent {
  readonly #options: DockerAgentOptions;
  readonly #created: CreatedVolumes;
  readonly #restarts: BegunRestarts;
  readonly #control: JsonServer;
  readonly #plugin: JsonServer;
  readonly #limits: RequestLimits;
  /** Requests that come while the agent starts wait for it. */
  readonly #started: Promise<void>;
  #markStarted = (): void => undefined;
  readonly #watch: SecretWatch;
  readonly #recovery: EngineRecovery | undefined;
  /** Without an engine, containers get new files and nothing else. */
  readonly #rotator: Rotator | undefined;
  readonly #leases: LeaseKeeper;
  readonly #swarm: SwarmSecrets;
  #projects: Projects | undefined;

  constructor(options: DockerAgentOptions) {
    const { controlSocket, controlGid, pluginSocket, volumesDir, stateDir, engine, log } = options;
    this.#options = options;
    this.#started = new Promise((resolve) => (this.#markStarted = resolve));
    this.#limits = new RequestLimits(options.now);
    this.#created = new CreatedVolumes(join(stateDir, 'volumes'));
    this.#restarts = new BegunRestarts(join(stateDir, 'restarts'));
    const metrics = new RotationMetrics(options.registry, () =>
      this.#projects === undefined ? [] : this.#services(undefined),
    );
    const { rotationDelays: delays, now } = options;
    const owing: Owing = (id, restart) =>
      this.#restarts.run(id, restart).catch((error: unknown) => {
        this.#recovery?.startFailed();
        throw error;
      });
    this.#rotator = engine && new Rotator({ engine, metrics, delays, owing, log, now });
    this.#watch = new SecretWatch({
      services: () =>
        this.#known
          .list()
          .filter(({ state, mounts }) => state !== 'lost' && mounts.isInUse)
          .map(({ mounts }) => mounts),
      refresh: (service) =>
        this.#limits.run(mountMs, undefined, (context) => service.refresh(context)),
      onRead: (service) => void this.#bringToContainers(service),
      intervalMs: options.host.config.agent.watch.pollingIntervalMs,
      log,
    });
    this.#leases = new LeaseKeeper({
      file: join(volumesDir, '.dso/leases.json'),
      ...{ leases: options.leases, stores: options.stores, host: options.host, log },
    });
    this.#recovery =
      engine &&
      new EngineRecovery({
        services: () =>
          this.#known.list().flatMap(({ mounts }) => (mounts.isInUse ? [mounts] : [])),
        canMount: (volume) => this.#known.hasSecretsOf(volume),
        unmount: (volume, id) => this.#unmount(volume, id),
        onContainerStart: (container) => this.#auditStart(container),
        restarts: this.#restarts,
        ...{ engine, volumesDir, log, delays: options.recoveryDelays },
      });
    const storeRequests = new StoreRequests({
      services: () => this.#known.list().map(({ mounts }) => mounts),
      rotate: (service) => this.#bringToContainers(service),
      ...{ host: options.host, stores: options.stores, limits: this.#limits },
    });
    this.#control = new JsonServer({
      ...{ path: controlSocket, flag: '--socket', mode: 0o660, gid: controlGid, log },
      contentType: 'application/json',
      maxBodyBytes: 64 * 1024 * 1024,
      handle: this.#afterStart(
        createControlApi({
          info: () => this.#info(),
          putProject: (name, registration) => this.#putProject(name, registration),
          deleteProject: (name) => this.#known.delete(name),
          services: (project) => this.#services(project),
          listSecrets: (name, signal) => storeRequests.list(name, signal),
          checkStore: (name, signal) => storeRequests.check(name, signal),
          refresh: (request, signal) => storeRequests.refresh(request, signal),
          log: (query, signal) => options.recentLog.read(query, signal),
        }),
      ),
      onError: toFailureResponse,
    });
    this.#swarm = new SwarmSecrets({ ...options, limits: this.#limits });
    this.#plugin = new JsonServer({
      ...{ path: pluginSocket, flag: '--plugin-socket', mode: 0o600, log },
      contentType: pluginContentType,
      // A request of a swarm has all labels of the service.
      maxBodyBytes: 4 * 1024 * 1024,
      handle: createPlugin([
        volumeDriver({
          create: (name) => this.#created.add(name),
          remove: (name) => this.#remove(name),
          list: () => this.#created.list(),
          has: (name) => this.#created.has(name),
          pathOf: (name) => join(volumesDir, name),
          mount: (name, id, signal) => this.#limits.track(this.#mount(name, id, signal)),
          unmount: (name, id) => this.#unmount(name, id),
        }),
        secretProvider((request, signal) => this.#limits.track(this.#swarm.read(request, signal))),
      ]),
      onError: toPluginError,
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
      await this.#restarts.load();
      await this.#projects.load(await records.load());
      await this.#removeUnused();
      await this.#leases.load((project, service) => this.#known.find(project, service));
      await this.#plugin.start();
    } catch (error) {
      this.#control.unbind();
      throw error;
    }
    this.#markStarted();
    this.#leases.start();
    this.#watch.start();
    this.#recovery?.start();
  }

  /** Why the engine or the plugin cannot reach this agent; empty if they can. */
  problems(): readonly string[] {
    return [this.#control, this.#plugin].flatMap((server) => server.problem ?? []);
  }

  /** Whether a lease that was read for a service is still needed. */
  presence(instance: string): 'here' | 'gone' | 'unknown' {
    if (isOfSwarm(instance)) return 'unknown';
    const [project = '', service = ''] = instance.split('/');
    return this.#projects?.find(project, service)?.mounts.keepsLeases === true ? 'here' : 'gone';
  }

  /**
   * Stops listening, and finishes the mounts in flight. Mounts that take longer fail. The files of
   * running containers stay.
   */
  async drain(graceMs: number): Promise<void> {
    this.#watch.stop();
    this.#recovery?.stop();
    this.#control.unbind();
    // A restart that has begun needs the volumes.
    const rotating = this.#rotator?.stop();
    if (rotating) await Promise.race([rotating, sleep(graceMs, undefined, { ref: false })]);
    this.#plugin.unbind();
    await this.#limits.drain(graceMs);
    await this.#leases.stop();
    // The last responses are on their way.
    await sleep(50);
    this.#control.close();
    this.#plugin.close();
  }

  #afterStart(handle: Handle): Handle {
    return async (request) => {
      await raceWithAbort(this.#started, request.signal);
      return handle(request);
    };
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
      const { path, isFirst } = await this.#limits.run(mountMs, signal, (context) =>
        service.mount(name, id, context),
      );
      this.#options.log[isFirst ? 'info' : 'debug'](
        {
          ...{ project, service: serviceName, volume: name, containers: service.containers },
          ms: this.#options.now() - startedAt,
          secrets: this.#secretsOf(service),
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
      this.#recovery?.startFailed();
      throw error;
    }
  }

  /** The engine does not say for which container it mounts a volume. */
  #auditStart({ id, name, labels }: StartedContainer): void {
    const project = labels[composeLabels.project] ?? '';
    const service = labels[composeLabels.service] ?? '';
    const known = this.#known.find(project, service)?.mounts;
    if (known?.isInUse !== true) return;
    const secrets = this.#secretsOf(known);
    this.#options.log.info(
      { project, service, container: name, id: id.slice(0, 12), secrets, audit: 'container' },
      'a container of the service has started',
    );
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
    const { version, host, engine } = this.#options;
    const problem = this.#recovery?.problem;
    const { failures } = this.#swarm;
    const failure = problem && { failure: toFailure(problem) };
    return {
      ...describeHost(version, host),
      ...(engine && { engine: { socket: engine.socketPath, ...failure } }),
      ...(failures.length > 0 && { swarmFailures: failures }),
    };
  }

  /** @returns whether the service rotates */
  #bringToContainers(service: ServiceMounts): boolean {
    this.#leases.releaseReplaced(service);
    return this.#rotator?.consider(service) === true;
  }

  async #putProject(name: string, registration: ProjectRegistration): Promise<void> {
    await checkReferences(registration, this.#options.stores, this.#options.host);
    this.#rotator?.hold(name);
    const changed = await this.#known.put(name, registration);
    this.#options.log.info({ project: name, services: registration.services.length }, 'registered');
    // Compose makes their containers again, unless the user has told it not to.
    for (const service of changed) void this.#watch.refresh(service);
  }

  /** As log lines have them. */
  #secretsOf(service: ServiceMounts) {
    return this.#statusOf(service).secrets.map(({ name: target, source, store, version }) => ({
      ...{ target, source, store, version },
    }));
  }

  #services(project: string | undefined) {
    return this.#known
      .list(project)
      .filter(({ state, mounts }) => state === 'current' || mounts.isInUse)
      .map(({ mounts }) => this.#statusOf(mounts));
  }

  #statusOf(service: ServiceMounts): ServiceStatus {
    const status = statusOf(service, (ref) => storeNameOf(service, ref, this.#options.host));
    const rotation = this.#rotator?.status(service);
    return { ...status, ...(rotation && { rotation }) };
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
