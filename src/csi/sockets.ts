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
} from '../sockets/socket-file.ts';

/** Options of {@link ProviderSockets}. */
export type ProviderSocketsOptions = {
  readonly providersDir: string;
  readonly providers: readonly string[];
  readonly onConnection: (provider: string, socket: Socket) => void;
  readonly log: Logger;
  readonly metrics: CsiMetrics;
  /**
   * Milliseconds between two checks of the paths. The file system's notifications cause further
   * checks. Default 500.
   */
  readonly pollMs?: number;
};

/** One provider's socket. */
type ProviderSocket = {
  readonly provider: string;
  readonly path: string;
  socket: BoundSocket;
  problem: string | undefined;
  /**
   * A socket of a dead process at the path, and the monotonic time of the first check that saw it.
   */
  dead?: { readonly socket: DeadSocket; readonly since: number } | undefined;
};

/** The path where the driver looks for a provider. */
export function socketPath(providersDir: string, provider: string): string {
  return join(providersDir, `${provider}.sock`);
}

/**
 * Listens on `<providersDir>/<provider>.sock` for each provider and watches the paths.
 *  - A path that is gone is bound again at once: Go providers unlink their path by name when they
 *    stop, even if another process has replaced the socket.
 *  - A path that leads to another process belongs to a newer Keyferry or a foreign provider. It is
 *    reported and left to that process.
 *  - A path that leads to a dead process is bound again: a new process that was killed leaves it.
 */
export class ProviderSockets {
  readonly #options: ProviderSocketsOptions;
  readonly #pollMs: number;
  readonly #sockets: ProviderSocket[] = [];
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #currentCheck: Promise<void> = Promise.resolve();
  #isCheckPending = false;

  constructor(options: ProviderSocketsOptions) {
    this.#options = options;
    this.#pollMs = options.pollMs ?? 500;
  }

  /**
   * Binds all sockets and replaces the files at their paths.
   * @throws SecretError NOT_CONFIGURED if a path is too long; Error of the file system
   */
  async start(): Promise<void> {
    const { providers, providersDir, log } = this.#options;
    const paths = providers.map((provider) => ({
      provider,
      path: socketPath(providersDir, provider),
    }));
    for (const { path } of paths) checkSocketPath(path, '--providers-dir');
    await mkdir(providersDir, { recursive: true });
    await removeLeftovers(providersDir);
    for (const { provider, path } of paths) {
      const socket = await this.#bind(provider, path, true);
      if (socket === undefined) continue;
      const entry: ProviderSocket = { provider, path, socket, problem: undefined };
      this.#sockets.push(entry);
      this.#setProblem(entry, undefined);
      log.info({ provider, socket: path }, 'listening');
    }
    this.#startWatching();
  }

  /** The sockets over which no driver can reach this process, with one sentence each. */
  problems(): readonly { readonly path: string; readonly problem: string }[] {
    return this.#sockets.flatMap(({ path, problem }) =>
      problem === undefined ? [] : { path, problem },
    );
  }

  /**
   * Stops listening and removes the paths that this process owns.
   * @returns the providers whose path leads to another process
   */
  async close(): Promise<readonly string[]> {
    const { log, metrics } = this.#options;
    clearInterval(this.#timer);
    this.#watcher?.close();
    await this.#currentCheck;
    const superseded = this.#sockets.splice(0).filter(({ provider, socket, path }) => {
      metrics.socketOwned.set({ provider }, 0);
      try {
        return unbindSocket(socket) === 'foreign';
      } catch (error) {
        // On a file system that has become read-only, the path stays and the process still ends.
        log.error({ provider, err: error }, `${path} cannot be removed`);
        return false;
      }
    });
    return superseded.map(({ provider }) => provider);
  }

  async #bind(provider: string, path: string, replace: boolean): Promise<BoundSocket | undefined> {
    const { onConnection, log } = this.#options;
    const socket = await bindSocket(path, {
      replace,
      onConnection: (connection) => onConnection(provider, connection),
    });
    socket?.server.on('error', (error) =>
      log.error({ provider, err: error }, 'cannot accept a connection'),
    );
    return socket;
  }

  #setProblem(entry: ProviderSocket, problem: string | undefined): void {
    const { log, metrics } = this.#options;
    const { provider, path } = entry;
    metrics.socketOwned.set({ provider }, problem === undefined ? 1 : 0);
    if (entry.problem === problem) return;
    entry.problem = problem;
    if (problem === undefined) log.info({ provider }, `${path} leads to this process again`);
    else log.warn({ provider }, problem);
  }

  /**
   * The socket of a dead process at the path, if it was there at a check `pollMs` ago as well: a
   * program that binds its path directly listens a moment later.
   */
  async #findPersistentDeadSocket(entry: ProviderSocket): Promise<DeadSocket | undefined> {
    const socket = await deadSocketAt(entry.path);
    const now = performance.now();
    if (socket === undefined) entry.dead = undefined;
    else if (entry.dead === undefined || !isSame(entry.dead.socket, socket))
      entry.dead = { socket, since: now };
    return entry.dead !== undefined && now - entry.dead.since >= this.#pollMs ? socket : undefined;
  }

  async #checkSocket(entry: ProviderSocket): Promise<void> {
    const { providersDir, log, metrics } = this.#options;
    const { provider, path } = entry;
    let owner = ownerOf(entry.socket);
    if (owner !== 'foreign') entry.dead = undefined;
    const dead = owner === 'foreign' ? await this.#findPersistentDeadSocket(entry) : undefined;
    if (owner === 'none' || dead !== undefined) {
      const reason =
        dead === undefined
          ? 'is gone: another program unlinked it'
          : 'leads to a process that is dead';
      log.warn({ provider }, `${path} ${reason}; binding it again`);
      await mkdir(providersDir, { recursive: true });
      if (dead !== undefined) removeDeadSocket(path, dead);
      // Without `replace`: a process that binds the path in the meantime keeps it. If this one
      // replaced it, both would live, and the pod of the other one would never become ready.
      const socket = await this.#bind(provider, path, false);
      if (socket !== undefined) {
        entry.socket.server.close();
        entry.socket = socket;
        metrics.socketRebinds.inc({ provider });
      }
      owner = ownerOf(entry.socket);
    }
    const takenOver = `${path} leads to another process: a successor of this one, or a foreign provider`;
    this.#setProblem(entry, owner === 'foreign' ? takenOver : undefined);
  }

  async #checkAll(): Promise<void> {
    this.#isCheckPending = false;
    for (const entry of this.#sockets) {
      await this.#checkSocket(entry).catch((error: unknown) => {
        this.#options.log.error({ provider: entry.provider, err: error }, 'cannot bind the socket');
        this.#setProblem(entry, `${entry.path} is gone and cannot be bound again`);
      });
    }
  }

  /** Checks run one after another. One pending check serves all callers that wait for it. */
  #scheduleCheck(): void {
    if (this.#isCheckPending) return;
    this.#isCheckPending = true;
    this.#currentCheck = this.#currentCheck.then(() => this.#checkAll());
  }

  #startWatching(): void {
    const { providersDir, log } = this.#options;
    const check = (): void => this.#scheduleCheck();
    const warn = (err: unknown): void =>
      log.warn({ err }, 'cannot watch the providers directory; it is only polled');
    this.#timer = setInterval(check, this.#pollMs).unref();
    try {
      this.#watcher = watch(providersDir, { persistent: false }, check);
      this.#watcher.on('error', warn);
    } catch (error) {
      warn(error);
    }
  }
}
