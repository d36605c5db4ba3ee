import * as z from 'zod';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { SocketResponse } from '../../sockets/socket-request.ts';
import { createLineReader } from '../../formats/lines.ts';
import { EngineConnection, parseJson } from './connection.ts';

/** A container in the list of the engine. */
export type ListedContainer = {
  readonly id: string;
  /** Without the slash. */
  readonly name: string;
  /** `created`, `running`, `paused`, `restarting`, `exited`, `removing` or `dead`. */
  readonly state: string;
  /** The names of the volumes that it mounts. */
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** `bridge`, the name of a network, or `container:ID`. */
  readonly networkMode: string;
};

/** The state of one container. */
export type ContainerState = {
  /** Also while it is paused, or waits for its next restart. */
  readonly isRunning: boolean;
  /** `running`, but its program has ended, and the engine starts it again. */
  readonly isRestarting: boolean;
  /** Whether a start of it has ever succeeded. */
  readonly hasStarted: boolean;
  /** When it started last, as the engine writes it. */
  readonly startedAt: string;
  /** Why its last start failed; empty if it did not. */
  readonly error: string;
  readonly exitCode: number;
  /** `starting`, `healthy` or `unhealthy`. Absent: it has no health check. */
  readonly health?: string;
  /** When its last health check began, as the engine writes it; empty if none has. */
  readonly checkedAt: string;
  /** A health check ends at most that long after the one before, in milliseconds. */
  readonly checkedEveryMs: number;
  /** `no`, `always`, `unless-stopped` or `on-failure`. */
  readonly restartPolicy: string;
};

/** A part of JSON, as the engine writes it. */
export type EngineJson = Readonly<Record<string, unknown>>;

/** How long a container may take to stop, in milliseconds. Default: as the container says. */
export type StopOptions = { readonly graceMs?: number | undefined };

/** What {@link Engine.untilEnded} reports. */
export type EngineWatcher = {
  onServing(): void;
  onContainerEnd(): void;
  onContainerStart(container: StartedContainer): void;
};

/** A container that has started. */
export type StartedContainer = Pick<ListedContainer, 'id' | 'name' | 'labels'>;

type AskOptions = {
  readonly body?: EngineJson;
  readonly timeoutMs?: number;
  readonly inNewestApi?: boolean;
};

const quickMs = 10_000;
/** While a container starts, the engine answers no question about it. A mount has two minutes. */
const startMs = 150_000;

const listSchema = z.array(
  z.object({
    Id: z.string(),
    Names: z.array(z.string()).nullish(),
    State: z.string(),
    Mounts: z.array(z.object({ Name: z.string().optional() })).nullish(),
    Labels: z.record(z.string(), z.string()).nullish(),
    HostConfig: z.object({ NetworkMode: z.string().optional() }).nullish(),
  }),
);
/** In nanoseconds. 0: the default. */
const healthcheckSchema = z.object({
  Interval: z.number().optional(),
  Timeout: z.number().optional(),
});
/** Of both. */
const defaultHealthcheckMs = 30_000;
const containerSchema = z.object({
  State: z.object({
    Running: z.boolean(),
    Restarting: z.boolean().optional(),
    StartedAt: z.string(),
    Error: z.string(),
    ExitCode: z.number(),
    Health: z
      .object({
        Status: z.string(),
        Log: z.array(z.object({ Start: z.string() })).nullish(),
      })
      .nullish(),
  }),
  Config: z.object({ Healthcheck: healthcheckSchema.nullish() }).nullish(),
  HostConfig: z.object({ RestartPolicy: z.object({ Name: z.string() }).nullish() }),
});
const eventSchema = z.object({
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: z.record(z.string(), z.string()) }),
});
const createdSchema = z.object({ Id: z.string() });

/**
 * The API of the container engine, over its unix socket:
 * https://docs.docker.com/reference/api/engine/version/v1.41/. Must not be called within a request
 * of the engine to its volume driver: it would wait for that request. All methods throw SecretError
 * NOT_CONFIGURED, with the reason of the engine.
 */
export class Engine {
  readonly #connection: EngineConnection;

  constructor(socketPath: string) {
    this.#connection = new EngineConnection(socketPath);
  }

  get socketPath(): string {
    return this.#connection.socketPath;
  }

  /**
   * Waits until the engine ends.
   * @param watcher.onServing called when it serves. It has then started its containers already
   * @param watcher.onContainerEnd called when a container has ended
   * @throws SecretError NOT_CONFIGURED if it does not serve, or the signal's reason
   */
  async untilEnded(signal: AbortSignal, watcher: EngineWatcher): Promise<void> {
    this.#connection.forgetVersion();
    const filters = JSON.stringify({ type: ['container'], event: ['start', 'die'] });
    const path = `/events?filters=${encodeURIComponent(filters)}`;
    const seen = { isServing: false };
    try {
      await this.#connection.request({
        ...{ method: 'GET', path, signal },
        onOpen(status) {
          seen.isServing = status === 200;
          if (seen.isServing) watcher.onServing();
        },
        onPiece: createLineReader((line) => report(line, watcher)),
      });
    } catch (thrown) {
      if (!seen.isServing) throw thrown;
    }
    if (!seen.isServing) throw this.#connection.failure('it does not report its events');
  }

  /** All containers. */
  async containers(): Promise<readonly ListedContainer[]> {
    const response = await this.#ask('GET', '/containers/json?all=1');
    return this.#connection.read(listSchema, response).map((container) => ({
      id: container.Id,
      name: sanitizeExternalText((container.Names?.[0] ?? container.Id).replace(/^\//, ''), []),
      state: container.State,
      volumes: (container.Mounts ?? []).flatMap(({ Name }) => Name ?? []),
      labels: container.Labels ?? {},
      networkMode: container.HostConfig?.NetworkMode ?? '',
    }));
  }

  /**
   * The state of a container. Waits while a start of it is under way.
   * @returns undefined if it does not exist
   */
  async container(id: string): Promise<ContainerState | undefined> {
    const response = await this.#ask('GET', containerPath(id, 'json'), { timeoutMs: startMs });
    if (response.status === 404) return undefined;
    const { State, HostConfig, Config } = this.#connection.read(containerSchema, response);
    return {
      isRunning: State.Running,
      isRestarting: State.Restarting === true,
      // Go's zero time.
      hasStarted: !State.StartedAt.startsWith('0001-'),
      startedAt: State.StartedAt,
      error: State.Error,
      exitCode: State.ExitCode,
      ...(State.Health && State.Health.Status !== 'none' && { health: State.Health.Status }),
      checkedAt: State.Health?.Log?.at(-1)?.Start ?? '',
      checkedEveryMs:
        fromNanoseconds(Config?.Healthcheck?.Interval) +
        fromNanoseconds(Config?.Healthcheck?.Timeout),
      restartPolicy: HostConfig.RestartPolicy?.Name ?? 'no',
    };
  }

  /**
   * Everything that the engine says of a container. As {@link createContainer} and
   * {@link connectToNetwork}, it uses the engine's newest API: an engine ignores what an older one
   * does not have, such as `Subpath` of a volume, and a copy would be another container.
   */
  async inspect(id: string): Promise<EngineJson> {
    const options = { timeoutMs: startMs, inNewestApi: true };
    const response = await this.#ask('GET', containerPath(id, 'json'), options);
    return this.#connection.read(z.record(z.string(), z.unknown()), response);
  }

  /** The id of the image that a name means now; undefined if none. */
  async imageId(name: string): Promise<string | undefined> {
    const response = await this.#ask('GET', `/images/${encodeURIComponent(name)}/json`);
    return response.status === 404 ? undefined : this.#connection.read(createdSchema, response).Id;
  }

  /** Makes a container. @returns its id */
  async createContainer(name: string, body: EngineJson): Promise<string> {
    const path = `/containers/create?name=${encodeURIComponent(name)}`;
    const options = { body, timeoutMs: startMs, inNewestApi: true };
    const response = await this.#ask('POST', path, options);
    return this.#connection.read(createdSchema, response).Id;
  }

  /** Adds a container to one more network. */
  async connectToNetwork(network: string, id: string, endpoint: EngineJson): Promise<void> {
    const body = { Container: id, EndpointConfig: endpoint };
    await this.#do(`/networks/${encodeURIComponent(network)}/connect`, {
      body,
      inNewestApi: true,
    });
  }

  /** Starts a container. One that runs stays as it is. */
  async startContainer(id: string): Promise<void> {
    await this.#do(containerPath(id, 'start'), { timeoutMs: startMs });
  }

  /** Stops a container and starts it. */
  async restartContainer(id: string, options: StopOptions): Promise<void> {
    await this.#do(containerPath(id, `restart${graceOf(options)}`), stopTime(options));
  }

  /** Stops a container. One that does not run stays as it is. */
  async stopContainer(id: string, options: StopOptions): Promise<void> {
    await this.#do(containerPath(id, `stop${graceOf(options)}`), stopTime(options));
  }

  /** Sends a signal to the program of a container. */
  async signalContainer(id: string, signal: string): Promise<void> {
    await this.#do(containerPath(id, `kill?signal=${encodeURIComponent(signal)}`));
  }

  /** Removes a container with its anonymous volumes. One that runs is killed. */
  async removeContainer(id: string): Promise<void> {
    const path = `${containerPath(id)}?force=1&v=1`;
    const response = await this.#ask('DELETE', path, { timeoutMs: startMs });
    // 409: it is being removed already.
    if (![204, 404, 409].includes(response.status)) throw this.#connection.refusal(response);
  }

  async #do(path: string, options: AskOptions = {}): Promise<void> {
    const response = await this.#ask('POST', path, options);
    // 304: it is so already.
    if (![200, 204, 304].includes(response.status)) throw this.#connection.refusal(response);
  }

  #ask(
    method: string,
    path: string,
    { timeoutMs = quickMs, body, inNewestApi = false }: AskOptions = {},
  ): Promise<SocketResponse> {
    const signal = AbortSignal.timeout(timeoutMs);
    return this.#connection.request({ method, path, signal, inNewestApi, ...(body && { body }) });
  }
}

function report(line: Buffer, watcher: EngineWatcher): void {
  const { data } = eventSchema.safeParse(parseJson(line.toString()));
  if (data?.Action === 'die') watcher.onContainerEnd();
  if (data?.Action !== 'start') return;
  // The attributes of a container are its labels, and some words of the engine.
  const { ID: id, Attributes: labels } = data.Actor;
  watcher.onContainerStart({ id, name: sanitizeExternalText(labels.name ?? id, []), labels });
}

function fromNanoseconds(time: number | undefined): number {
  return time === undefined || time === 0 ? defaultHealthcheckMs : time / 1_000_000;
}

function containerPath(id: string, action?: string): string {
  const path = `/containers/${encodeURIComponent(id)}`;
  return action === undefined ? path : `${path}/${action}`;
}

/** The engine counts in seconds. */
function graceOf({ graceMs }: StopOptions): string {
  return graceMs === undefined ? '' : `?t=${Math.ceil(graceMs / 1_000)}`;
}

/** A container can have a long `stop_grace_period` of its own. */
function stopTime({ graceMs = 600_000 }: StopOptions): { readonly timeoutMs: number } {
  return { timeoutMs: graceMs + startMs };
}
