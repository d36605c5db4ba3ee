import { watch, type FSWatcher } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { CsiMetrics } from './metrics.ts';
import {
  bindSocket,
  checkSocketPath,
  isListening,
  removeLeftOvers,
  unbindSocket,
  whoseIs,
  type BoundSocket,
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
type Place = {
  readonly provider: string;
  readonly path: string;
  socket: BoundSocket;
  problem: string | undefined;
  /** Since when nobody listens at the path, though something is there; in milliseconds, only differences count. */
  deadSince?: number | undefined;
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
  const places: Place[] = [];
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  let look: Promise<void> = Promise.resolve();
  let looksWaiting = 0;

  async function bind(provider: string, path: string, replace: boolean): Promise<BoundSocket | undefined> {
    const socket = await bindSocket(path, {
      replace,
      onConnection: (connection) => onConnection(provider, connection),
    });
    socket?.server.on('error', (error) => log.error({ provider, err: error }, 'cannot accept a connection'));
    return socket;
  }

  function note(place: Place, problem: string | undefined): void {
    metrics.socketOwned.set({ provider: place.provider }, problem === undefined ? 1 : 0);
    if (place.problem === problem) return;
    place.problem = problem;
    if (problem === undefined)
      log.info({ provider: place.provider }, `${place.path} leads to this process again`);
    else log.error({ provider: place.provider }, problem);
  }

  /** Whether nobody listens there, now and a look ago: a program that binds its path directly listens a moment later. */
  async function staysDead(place: Place): Promise<boolean> {
    const now = performance.now();
    place.deadSince = (await isListening(place.path)) ? undefined : (place.deadSince ?? now);
    return place.deadSince !== undefined && now - place.deadSince >= pollMs;
  }

  async function lookAt(place: Place): Promise<void> {
    let whose = whoseIs(place.socket);
    if (whose !== 'foreign') place.deadSince = undefined;
    const isDead = whose === 'foreign' && (await staysDead(place));
    if (whose === 'nobody' || isDead) {
      const what = isDead ? 'leads to a process that is dead' : 'is gone: somebody unlinked it';
      log.warn({ provider: place.provider }, `${place.path} ${what}; binding it again`);
      await mkdir(providersDir, { recursive: true });
      const socket = await bind(place.provider, place.path, isDead);
      if (socket !== undefined) {
        place.socket.server.close();
        place.socket = socket;
        metrics.socketRebinds.inc({ provider: place.provider });
      }
      whose = whoseIs(place.socket);
    }
    const taken = `${place.path} leads to another process: a successor of this one, or a foreign provider`;
    note(place, whose === 'foreign' ? taken : undefined);
  }

  async function lookAtAll(): Promise<void> {
    looksWaiting -= 1;
    for (const place of places) {
      await lookAt(place).catch((error: unknown) => {
        log.error({ provider: place.provider, err: error }, 'cannot bind the socket');
        note(place, `${place.path} is gone and cannot be bound again`);
      });
    }
  }

  /** Looks one after the other; one that waits sees what any number of callers wanted it to see. */
  function lookSoon(): void {
    if (looksWaiting > 0) return;
    looksWaiting += 1;
    look = look.then(lookAtAll);
  }

  function startWatching(): void {
    timer = setInterval(lookSoon, pollMs).unref();
    try {
      watcher = watch(providersDir, { persistent: false }, lookSoon);
      watcher.on('error', (error) =>
        log.warn({ err: error }, 'the providers directory is looked at by the clock alone'),
      );
    } catch (error) {
      log.warn({ err: error }, 'the providers directory is looked at by the clock alone');
    }
  }

  return {
    async start() {
      const wanted = providers.map((provider) => ({ provider, path: socketPath(providersDir, provider) }));
      for (const { path } of wanted) checkSocketPath(path);
      await mkdir(providersDir, { recursive: true });
      await removeLeftOvers(providersDir);
      for (const { provider, path } of wanted) {
        const socket = await bind(provider, path, true);
        if (socket === undefined) continue;
        const place: Place = { provider, path, socket, problem: undefined };
        places.push(place);
        note(place, undefined);
        log.info({ provider, socket: path }, 'listening');
      }
      startWatching();
    },
    problems() {
      return places.flatMap(({ problem }) => problem ?? []);
    },
    async close() {
      clearInterval(timer);
      watcher?.close();
      await look;
      const succeeded = places.splice(0).filter(({ provider, socket, path }) => {
        metrics.socketOwned.set({ provider }, 0);
        try {
          return unbindSocket(socket) === 'foreign';
        } catch (error) {
          // A file system that became read-only keeps the path, and must not keep the process.
          log.error({ provider, err: error }, `${path} cannot be removed`);
          return false;
        }
      });
      return succeeded.map(({ provider }) => provider);
    },
  };
}
