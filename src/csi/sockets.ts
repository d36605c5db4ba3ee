import { watch, type FSWatcher } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { CsiMetrics } from './metrics.ts';
import {
  bindSocket,
  checkSocketPath,
  deadSocketAt,
  isSame,
  removeDeadSocket,
  removeLeftovers,
  unbindSocket,
  ownerOf,
  type BoundSocket,
  type DeadSocket,
} from './socket-file.ts';

/** The sockets of all providers of this process: see {@link createSockets}. */
export type Sockets = {
  /**
   * Binds them all, taking over what stands at their paths.
   * @throws SecretError where a path is too long; Error of the file system
   */
  start(): Promise<void>;
  /** One sentence for each socket by which no driver can reach this process. */
  problems(): readonly string[];
  /** Stops listening, and removes the paths that are still ours; the providers whose path leads to another process. */
  close(): Promise<readonly string[]>;
};

/** What {@link createSockets} needs. */
export type SocketsOptions = {
  readonly providersDir: string;
  readonly providers: readonly string[];
  readonly onConnection: (provider: string, socket: Socket) => void;
  readonly log: Logger;
  readonly metrics: CsiMetrics;
  /** Milliseconds between two looks at the paths, besides those that the file system's notices cause. Default 500. */
  readonly pollMs?: number;
};

/** One provider's socket. */
type ProviderSocket = {
  readonly provider: string;
  readonly path: string;
  socket: BoundSocket;
  problem: string | undefined;
  /** The socket at the path on which nobody listens, and since when; in milliseconds, only differences count. */
  dead?: { readonly socket: DeadSocket; readonly since: number } | undefined;
};

/** Where the driver looks for a provider. */
export function socketPath(providersDir: string, provider: string): string {
  return join(providersDir, `${provider}.sock`);
}

/**
 * Listens on `<providersDir>/<provider>.sock` for each provider and watches over the paths. One that goes (Go providers unlink theirs by name when
 * they stop, ours included) is bound again at once. One that leads elsewhere belongs to a successor or a foreign provider: that is
 * told and not fought over, unless nobody listens there: a successor that was killed leaves its path behind.
 */
export function createSockets({
  providersDir,
  providers,
  onConnection,
  log,
  metrics,
  pollMs = 500,
}: SocketsOptions): Sockets {
  const providerSockets: ProviderSocket[] = [];
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  let currentCheck: Promise<void> = Promise.resolve();
  let pendingChecks = 0;

  async function bind(
    provider: string,
    path: string,
    replace: boolean,
  ): Promise<BoundSocket | undefined> {
    const socket = await bindSocket(path, {
      replace,
      onConnection: (connection) => onConnection(provider, connection),
    });
    socket?.server.on('error', (error) =>
      log.error({ provider, err: error }, 'cannot accept a connection'),
    );
    return socket;
  }

  function setProblem(place: ProviderSocket, problem: string | undefined): void {
    metrics.socketOwned.set({ provider: place.provider }, problem === undefined ? 1 : 0);
    if (place.problem === problem) return;
    place.problem = problem;
    if (problem === undefined)
      log.info({ provider: place.provider }, `${place.path} leads to this process again`);
    else log.error({ provider: place.provider }, problem);
  }

  /** The socket there on which nobody listens, now and a look ago: a program that binds its path directly listens a moment later. */
  async function findPersistentDeadSocket(place: ProviderSocket): Promise<DeadSocket | undefined> {
    const socket = await deadSocketAt(place.path);
    const now = performance.now();
    if (socket === undefined) place.dead = undefined;
    else if (place.dead === undefined || !isSame(place.dead.socket, socket))
      place.dead = { socket, since: now };
    return place.dead !== undefined && now - place.dead.since >= pollMs ? socket : undefined;
  }

  async function checkSocket(place: ProviderSocket): Promise<void> {
    let owner = ownerOf(place.socket);
    if (owner !== 'foreign') place.dead = undefined;
    const dead = owner === 'foreign' ? await findPersistentDeadSocket(place) : undefined;
    if (owner === 'nobody' || dead !== undefined) {
      const reason =
        dead === undefined ? 'is gone: somebody unlinked it' : 'leads to a process that is dead';
      log.warn({ provider: place.provider }, `${place.path} ${reason}; binding it again`);
      await mkdir(providersDir, { recursive: true });
      if (dead !== undefined) removeDeadSocket(place.path, dead);
      // Whoever comes meanwhile has it: in his place we would be two that live, and his pod never ready.
      const socket = await bind(place.provider, place.path, false);
      if (socket !== undefined) {
        place.socket.server.close();
        place.socket = socket;
        metrics.socketRebinds.inc({ provider: place.provider });
      }
      owner = ownerOf(place.socket);
    }
    const takenOver = `${place.path} leads to another process: a successor of this one, or a foreign provider`;
    setProblem(place, owner === 'foreign' ? takenOver : undefined);
  }

  async function checkAll(): Promise<void> {
    pendingChecks -= 1;
    for (const place of providerSockets) {
      await checkSocket(place).catch((error: unknown) => {
        log.error({ provider: place.provider, err: error }, 'cannot bind the socket');
        setProblem(place, `${place.path} is gone and cannot be bound again`);
      });
    }
  }

  /** Looks one after the other; one that waits sees what any number of callers wanted it to see. */
  function scheduleCheck(): void {
    if (pendingChecks > 0) return;
    pendingChecks += 1;
    currentCheck = currentCheck.then(checkAll);
  }

  function startWatching(): void {
    timer = setInterval(scheduleCheck, pollMs).unref();
    try {
      watcher = watch(providersDir, { persistent: false }, scheduleCheck);
      watcher.on('error', (error) =>
        log.warn({ err: error }, 'the providers directory is looked at by the clock alone'),
      );
    } catch (error) {
      log.warn({ err: error }, 'the providers directory is looked at by the clock alone');
    }
  }

  return {
    async start() {
      const paths = providers.map((provider) => ({
        provider,
        path: socketPath(providersDir, provider),
      }));
      for (const { path } of paths) checkSocketPath(path);
      await mkdir(providersDir, { recursive: true });
      await removeLeftovers(providersDir);
      for (const { provider, path } of paths) {
        const socket = await bind(provider, path, true);
        if (socket === undefined) continue;
        const place: ProviderSocket = { provider, path, socket, problem: undefined };
        providerSockets.push(place);
        setProblem(place, undefined);
        log.info({ provider, socket: path }, 'listening');
      }
      startWatching();
    },
    problems() {
      return providerSockets.flatMap(({ problem }) => problem ?? []);
    },
    async close() {
      clearInterval(timer);
      watcher?.close();
      await currentCheck;
      const superseded = providerSockets.splice(0).filter(({ provider, socket, path }) => {
        metrics.socketOwned.set({ provider }, 0);
        try {
          return unbindSocket(socket) === 'foreign';
        } catch (error) {
          // A file system that became read-only keeps the path, and must not keep the process.
          log.error({ provider, err: error }, `${path} cannot be removed`);
          return false;
        }
      });
      return superseded.map(({ provider }) => provider);
    },
  };
}
