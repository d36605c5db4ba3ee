import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { MemoryLimiter } from '../concurrency/memory-limiter.ts';
import { SecretError, errorCodeOf } from '../core/errors.ts';
import type { DriverMount } from './mount-request.ts';
import { DriverConnection } from './authority-rewrite.ts';
import { probeSocket } from './client.ts';
import { type RequestMemory, UnaryServer } from './grpc/server.ts';
import { frameMessage } from './grpc/wire.ts';
import { HealthServer } from './health.ts';
import { InFlightMounts } from './in-flight-mounts.ts';
import { driverService, runtimeName } from './messages.ts';
import { createCsiMetrics } from './metrics.ts';
import {
  type MountHandlerOptions,
  createRequestMemory,
  handleMount,
  toStatus,
} from './mount-handler.ts';
import { ProviderSockets, socketPath } from './sockets.ts';

/** Options of a {@link ProviderServer}. */
type ProviderServerOptions = MountHandlerOptions & {
  /** `runtime_version` in the response of `Version`. */
  readonly runtimeVersion: string;
  readonly requestMemory: RequestMemory;
};

const maxRequestBytes = 4 * 1024 * 1024;

/** The gRPC server of one provider's socket: `Version` and `Mount` of v1alpha1. */
class ProviderServer {
  readonly #server: UnaryServer;

  constructor({ runtimeVersion, requestMemory, ...mountOptions }: ProviderServerOptions) {
    const version = { version: 'v1alpha1', runtimeName, runtimeVersion };
    const versionResponse = frameMessage(driverService.version.response.encode(version));
    this.#server = new UnaryServer({
      methods: new Map([
        [driverService.version.path, (call) => call.respond(versionResponse)],
        [driverService.mount.path, (call) => handleMount(call, mountOptions)],
      ]),
      maxMessageBytes: maxRequestBytes,
      requestMemory,
      toInvalidCallStatus: (problem) =>
        toStatus(new SecretError('INVALID_REQUEST', `the request has ${problem}`)),
    });
  }

  /** Serves a driver's connection. */
  accept(socket: Socket): void {
    this.#server.accept(new DriverConnection(socket));
  }

  /** Closes all connections gracefully, and destroys those that are still open after `ms`. */
  close(ms: number): Promise<void> {
    return this.#server.close(ms);
  }
}

/** Options of a {@link CsiServer}. */
export type CsiServerOptions = {
  readonly mount: DriverMount;
  /** The version of Keyferry. */
  readonly version: string;
  /** The names of the providers. Each has a socket of that name. */
  readonly providers: readonly string[];
  readonly providersDir: string;
  readonly log: Logger;
  readonly registry: Registry;
  /** The largest response in bytes. Default 4 MiB, the driver's own limit. */
  readonly maxResponseBytes?: number;
  /** The bytes of encoded responses that wait to be sent. Further ones wait. Default 64 MiB. */
  readonly responseMemoryBytes?: number;
  /**
   * Where `/healthz`, `/readyz` and `/metrics` listen, as {@link HealthServer} takes it. Default:
   * nowhere.
   */
  readonly healthAddress?: string;
  /** Milliseconds in which a connection may send its last bytes at the end. Default 1,000. */
  readonly goodbyeMs?: number;
};

const mebibyte = 1024 * 1024;
const probeTimeoutMs = 2_000;

/** Serves the driver: one socket and gRPC server for each provider, and health over HTTP. */
export class CsiServer {
  /** A random id of this process. `Version` responds with `<version>+<instanceId>`. */
  readonly instanceId = randomBytes(8).toString('hex');
  readonly #options: CsiServerOptions;
  readonly #inFlightMounts = new InFlightMounts();
  readonly #servers: ReadonlyMap<string, ProviderServer>;
  readonly #sockets: ProviderSockets;
  readonly #health: HealthServer | undefined;
  #isStarting = true;
  #drained: Promise<void> | undefined;

  constructor(options: CsiServerOptions) {
    const { mount, version, providers, providersDir, log, registry, healthAddress } = options;
    const { maxResponseBytes = 4 * mebibyte, responseMemoryBytes = 64 * mebibyte } = options;
    this.#options = options;
    const metrics = createCsiMetrics(registry, () => this.#inFlightMounts.size);
    const shared = {
      runtimeVersion: `${version}+${this.instanceId}`,
      mount,
      maxResponseBytes,
      responseMemory: new MemoryLimiter({ maxBytes: responseMemoryBytes }),
      requestMemory: createRequestMemory({ inFlightMounts: this.#inFlightMounts }),
      inFlightMounts: this.#inFlightMounts,
      log,
      metrics,
    };
    this.#servers = new Map(
      providers.map((provider) => [provider, new ProviderServer({ provider, ...shared })]),
    );
    this.#sockets = new ProviderSockets({
      providers,
      providersDir,
      onConnection: (provider, socket) => this.#servers.get(provider)?.accept(socket),
      log,
      metrics,
    });
    if (healthAddress !== undefined)
      this.#health = new HealthServer({
        address: healthAddress,
        probe: () => this.#probe(),
        problems: () => this.#problems(),
        registry,
        log,
      });
  }

  /**
   * Listens.
   * @returns the port of health, readiness and metrics, if it has one
   * @throws SecretError NOT_CONFIGURED if it cannot listen at an address or a path
   */
  async start(): Promise<number | undefined> {
    const port = await this.#health?.start();
    try {
      await this.#sockets.start();
    } catch (error) {
      await Promise.all([this.#sockets.close(), this.#health?.close()]);
      throw cannotListen(this.#options.providersDir, error);
    }
    this.#isStarting = false;
    return port;
  }

  /**
   * Stops listening, removes the sockets that this process owns, and serves the open connections
   * until no mount is in flight, at most `graceMs`. Mounts that are not finished then fail with
   * SHUTTING_DOWN. Then the connections close. Where another process has taken over a socket, the
   * driver is sent there at once.
   */
  drain(graceMs: number): Promise<void> {
    this.#drained ??= this.#drain(graceMs);
    return this.#drained;
  }

  async #drain(graceMs: number): Promise<void> {
    const { providers, goodbyeMs = 1_000 } = this.#options;
    const superseded = await this.#sockets.close();
    const close = (names: readonly string[], ms: number) =>
      Promise.all(names.map(async (name) => this.#servers.get(name)?.close(ms)));
    // A driver that is sent away when no process has taken over gets no response, which is not a
    // final status. Therefore only the connections of superseded sockets close now.
    const supersededClosed = close(superseded, graceMs + goodbyeMs);
    const end = performance.now() + graceMs;
    // Requests that are on their way over those connections may come when no mount is in flight.
    await Promise.race([supersededClosed, sleep(graceMs, undefined, { ref: false })]);
    await this.#inFlightMounts.drain(Math.max(0, end - performance.now()));
    const others = providers.filter((name) => !superseded.includes(name));
    await Promise.all([supersededClosed, close(others, goodbyeMs)]);
    await this.#health?.close();
  }

  /**
   * The reasons why this process is not ready. A rollout must not report the old process: it stays
   * ready when its successor owns the sockets, and while it drains and has no sockets any more.
   */
  async #problems(): Promise<readonly string[]> {
    if (this.#isStarting) return ['starting'];
    const problems = this.#sockets.problems().map(async ({ path, problem }) => {
      const isSuccessor = (await probeSocket(path, probeTimeoutMs)) === undefined;
      return isSuccessor ? [] : [problem];
    });
    return (await Promise.all(problems)).flat();
  }

  async #probe(): Promise<readonly string[]> {
    const { providers, providersDir } = this.#options;
    const found = await Promise.all(
      providers.map((name) => probeSocket(socketPath(providersDir, name), probeTimeoutMs)),
    );
    return found.filter((problem) => problem !== undefined);
  }
}

function cannotListen(providersDir: string, error: unknown): SecretError {
  if (error instanceof SecretError) return error;
  const reason = errorCodeOf(error) ?? 'unknown reason';
  return new SecretError('NOT_CONFIGURED', `cannot listen in ${providersDir}: ${reason}`, {
    hint: 'this process must be able to write to the folder and to create unix sockets in it',
    cause: error,
  });
}
