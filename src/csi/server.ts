import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { MemoryLimiter } from '../concurrency/memory-limiter.ts';
import { SecretError } from '../core/errors.ts';
import type { DriverMount } from './mount-request.ts';
import { DriverConnection } from './authority-rewrite.ts';
import { probeSocket } from './client.ts';
import { type UnaryServer, createUnaryServer } from './grpc/server.ts';
import { frameMessage } from './grpc/wire.ts';
import { createHealth } from './health.ts';
import { createInFlightMounts } from './in-flight-mounts.ts';
import { driverService } from './messages.ts';
import { createCsiMetrics } from './metrics.ts';
import { type MountHandlerOptions, handleMount, toStatus } from './mount-handler.ts';
import { createSockets, socketPath } from './sockets.ts';

/** The gRPC server behind one provider's socket. */
export type ProviderServer = {
  /** Serves a driver's connection. */
  accept(socket: Socket): void;
  /** Ends all connections, politely first; whoever does not leave within `ms` is cut off. */
  close: UnaryServer['close'];
};

/** What {@link createProviderServer} needs. */
export type ProviderServerOptions = MountHandlerOptions & {
  /** What `Version` answers as `runtime_version`. */
  readonly runtimeVersion: string;
};

const maxRequestBytes = 4 * 1024 * 1024;

/** Serves `Version` and `Mount` of v1alpha1 over the connections it is given. */
export function createProviderServer({
  runtimeVersion,
  ...mountOptions
}: ProviderServerOptions): ProviderServer {
  const version = { version: 'v1alpha1', runtimeName: 'keyferry', runtimeVersion };
  const versionResponse = frameMessage(driverService.version.response.encode(version));
  const server = createUnaryServer({
    methods: new Map([
      [driverService.version.path, (call) => call.respond(versionResponse)],
      [driverService.mount.path, (call) => handleMount(call, mountOptions)],
    ]),
    maxMessageBytes: maxRequestBytes,
    toInvalidCallStatus: (problem) =>
      toStatus(new SecretError('INVALID_REQUEST', `a call came ${problem}`)),
  });
  return {
    accept: (socket) => server.accept(new DriverConnection(socket)),
    close: server.close,
  };
}

/** The way in: see {@link createCsiServer}. */
export type CsiServer = {
  /** Random, made for this process; `Version` answers `<version>+<instanceId>`. */
  readonly instanceId: string;
  /**
   * Listens. Resolves to the port of health, readiness and metrics, where it has one.
   * @throws SecretError NOT_CONFIGURED where an address or a path cannot be listened at
   */
  start(): Promise<number | undefined>;
  /** Whether drivers can reach this process by every socket, and if not, why. */
  ready(): { readonly ready: boolean; readonly reasons: readonly string[] };
  /**
   * Stops listening, removes the sockets that are still ours, and serves what comes over connections that are open until none is under way, at most
   * `graceMs`. Whatever is not finished then is answered with SHUTTING_DOWN; then the connections end. Drivers whose socket leads to a successor are
   * sent there at once.
   */
  drain(graceMs: number): Promise<void>;
};

/** What {@link createCsiServer} needs. */
export type CsiServerOptions = {
  readonly mount: DriverMount;
  /** Of this program. */
  readonly version: string;
  /** Their names are their sockets'. */
  readonly providers: readonly string[];
  readonly providersDir: string;
  readonly log: Logger;
  readonly registry: Registry;
  /** The largest response in bytes; default 4 MiB, which is what the driver takes. */
  readonly maxResponseBytes?: number;
  /** Bytes of responses that may be in the making at a time, others wait; default 64 MiB. */
  readonly responseMemoryBytes?: number;
  /** Where `/healthz`, `/readyz` and `/metrics` listen, as {@link createHealth} takes it; default nowhere. */
  readonly healthAddress?: string;
  /** How long a connection has for its last bytes, in milliseconds; default 1,000. */
  readonly goodbyeMs?: number;
};

const mebibyte = 1024 * 1024;
/** For large requests; understood they take some three times as much of a heap of 64 MiB. */
const requestMemoryBytes = 4 * mebibyte;
const probeTimeoutMs = 2_000;

/** Serves the driver: a socket and a gRPC server for each provider, and health over HTTP. */
export function createCsiServer(options: CsiServerOptions): CsiServer {
  const {
    mount,
    version,
    providers,
    providersDir,
    log,
    registry,
    healthAddress,
    goodbyeMs = 1_000,
  } = options;
  const { maxResponseBytes = 4 * mebibyte, responseMemoryBytes = 64 * mebibyte } = options;
  const instanceId = randomBytes(8).toString('hex');
  const runtimeVersion = `${version}+${instanceId}`;
  const inFlightMounts = createInFlightMounts();
  const metrics = createCsiMetrics(registry, () => inFlightMounts.size);
  const responseMemory = new MemoryLimiter({ maxBytes: responseMemoryBytes });
  const requestMemory = new MemoryLimiter({ maxBytes: requestMemoryBytes });
  const shared = {
    runtimeVersion,
    mount,
    maxResponseBytes,
    responseMemory,
    requestMemory,
    inFlightMounts,
    log,
    metrics,
  };
  const servers = new Map(
    providers.map((provider) => [provider, createProviderServer({ provider, ...shared })] as const),
  );
  const sockets = createSockets({
    providers,
    providersDir,
    onConnection: (provider, socket) => servers.get(provider)?.accept(socket),
    log,
    metrics,
  });
  const health =
    healthAddress === undefined
      ? undefined
      : createHealth({ address: healthAddress, probe, problems, registry, log });
  let notServing: string | undefined = 'starting';
  let drained: Promise<void> | undefined;

  function problems(): readonly string[] {
    return notServing === undefined ? sockets.problems() : [notServing];
  }

  async function probe(): Promise<readonly string[]> {
    const paths = providers.map((provider) => socketPath(providersDir, provider));
    const found = await Promise.all(
      paths.map((path) => probeSocket({ path, runtimeVersion, timeoutMs: probeTimeoutMs })),
    );
    return found.filter((problem) => problem !== undefined);
  }

  async function drain(graceMs: number): Promise<void> {
    notServing = 'shutting down';
    const superseded = await sockets.close();
    const close = (names: readonly string[], ms: number) =>
      Promise.all(names.map(async (name) => servers.get(name)?.close(ms)));
    // Without a successor a driver that is sent away finds nobody, which is no final answer: its connection is served to the end.
    const supersededClosed = close(superseded, graceMs + goodbyeMs);
    const end = performance.now() + graceMs;
    // What is on its way over those that leave comes after a moment in which nothing is under way.
    await Promise.race([supersededClosed, sleep(graceMs, undefined, { ref: false })]);
    await inFlightMounts.drain(Math.max(0, end - performance.now()));
    const others = providers.filter((name) => !superseded.includes(name));
    await Promise.all([supersededClosed, close(others, goodbyeMs)]);
    await health?.close();
  }

  return {
    instanceId,
    async start() {
      const port = await health?.start();
      try {
        await sockets.start();
      } catch (error) {
        await Promise.all([sockets.close(), health?.close()]);
        throw cannotListen(providersDir, error);
      }
      notServing = undefined;
      return port;
    },
    ready() {
      const reasons = problems();
      return { ready: reasons.length === 0, reasons };
    },
    drain(graceMs) {
      drained ??= drain(graceMs);
      return drained;
    },
  };
}

function cannotListen(providersDir: string, error: unknown): SecretError {
  if (error instanceof SecretError) return error;
  const code =
    typeof error === 'object' && error !== null && 'code' in error
      ? String(error.code)
      : 'unknown reason';
  return new SecretError('NOT_CONFIGURED', `cannot listen in ${providersDir}: ${code}`, {
    hint: 'the folder must be one that this process may write to and where sockets can be made',
    cause: error,
  });
}
