import * as z from 'zod';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { sanitizeExternalText, sanitizeUserText } from '../../core/safe-text.ts';
import {
  type SocketRequest,
  type SocketResponse,
  requestOverSocket,
} from '../../sockets/socket-request.ts';

/** A container in the list of the engine. */
export type ListedContainer = {
  readonly id: string;
  /** Without the slash. */
  readonly name: string;
  /** `created`, `running`, `paused`, `restarting`, `exited`, `removing` or `dead`. */
  readonly state: string;
  /** The names of the volumes that it mounts. */
  readonly volumes: readonly string[];
};

/** The state of one container. */
export type ContainerState = {
  /** Also while it is paused, or waits for its next restart. */
  readonly isRunning: boolean;
  /** Whether a start of it has ever succeeded. */
  readonly hasStarted: boolean;
  /** Why its last start failed; empty if it did not. */
  readonly error: string;
  readonly exitCode: number;
  /** `no`, `always`, `unless-stopped` or `on-failure`. */
  readonly restartPolicy: string;
};

/** What {@link Engine.untilEnded} reports. */
export type EngineWatcher = { onServing(): void; onContainerEnd(): void };

type Stream = Pick<SocketRequest, 'onOpen' | 'onPiece'>;

/** The API that was tried: that of engine 20.10. */
const newestApi = [1, 41] as const;
const maxBodyBytes = 64 * 1_048_576;
const quickMs = 10_000;
/** While a container starts, the engine answers no question about it. A mount has two minutes. */
const startMs = 150_000;

const versionSchema = z.object({ ApiVersion: z.string(), MinAPIVersion: z.string().optional() });
const listSchema = z.array(
  z.object({
    Id: z.string(),
    Names: z.array(z.string()).nullish(),
    State: z.string(),
    Mounts: z.array(z.object({ Name: z.string().optional() })).nullish(),
  }),
);
const containerSchema = z.object({
  State: z.object({
    Running: z.boolean(),
    StartedAt: z.string(),
    Error: z.string(),
    ExitCode: z.number(),
  }),
  HostConfig: z.object({ RestartPolicy: z.object({ Name: z.string() }).nullish() }),
});
const errorSchema = z.object({ message: z.string() });

/**
 * The API of the container engine, over its unix socket:
 * https://docs.docker.com/reference/api/engine/version/v1.41/. Must not be called within a request
 * of the engine to its volume driver: it would wait for that request.
 */
export class Engine {
  readonly socketPath: string;
  #version: Promise<string> | undefined;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  /**
   * Waits until the engine ends.
   * @param watcher.onServing called when it serves. It has then started its containers already
   * @param watcher.onContainerEnd called when a container, or several, have ended
   * @throws SecretError NOT_CONFIGURED if it does not serve, or the signal's reason
   */
  async untilEnded(signal: AbortSignal, watcher: EngineWatcher): Promise<void> {
    // It may be another one than before.
    this.#version = undefined;
    const filters = JSON.stringify({ type: ['container'], event: ['die'] });
    const path = `/events?filters=${encodeURIComponent(filters)}`;
    const seen = { isServing: false };
    try {
      await this.#send('GET', path, signal, {
        onOpen(status) {
          seen.isServing = status === 200;
          if (seen.isServing) watcher.onServing();
        },
        onPiece: () => watcher.onContainerEnd(),
      });
    } catch (thrown) {
      if (!seen.isServing) throw thrown;
    }
    if (!seen.isServing) throw this.#failure('it does not report its events');
  }

  /** All containers. @throws SecretError NOT_CONFIGURED */
  async containers(): Promise<readonly ListedContainer[]> {
    const answer = await this.#ask('GET', '/containers/json?all=1', quickMs);
    return this.#read(listSchema, answer).map(({ Id, Names, State, Mounts }) => ({
      id: Id,
      name: sanitizeExternalText((Names?.[0] ?? Id).replace(/^\//, ''), []),
      state: State,
      volumes: (Mounts ?? []).flatMap(({ Name }) => Name ?? []),
    }));
  }

  /**
   * The state of a container. Waits while a start of it is under way.
   * @returns undefined if it does not exist
   * @throws SecretError NOT_CONFIGURED
   */
  async container(id: string): Promise<ContainerState | undefined> {
    const answer = await this.#ask('GET', `/containers/${encodeURIComponent(id)}/json`, startMs);
    if (answer.status === 404) return undefined;
    const { State, HostConfig } = this.#read(containerSchema, answer);
    return {
      isRunning: State.Running,
      // Go's zero time.
      hasStarted: !State.StartedAt.startsWith('0001-'),
      error: State.Error,
      exitCode: State.ExitCode,
      restartPolicy: HostConfig.RestartPolicy?.Name ?? 'no',
    };
  }

  /** Starts a container. @throws SecretError NOT_CONFIGURED with the reason of the engine */
  async startContainer(id: string): Promise<void> {
    const answer = await this.#ask('POST', `/containers/${encodeURIComponent(id)}/start`, startMs);
    // 304: it runs already.
    if (answer.status !== 204 && answer.status !== 304)
      throw this.#failure(`HTTP ${answer.status}: ${this.#reasonOf(answer)}`);
  }

  async #ask(method: string, path: string, timeoutMs: number): Promise<SocketResponse> {
    return this.#send(method, path, AbortSignal.timeout(timeoutMs));
  }

  async #send(
    method: string,
    path: string,
    signal: AbortSignal,
    stream: Stream = {},
  ): Promise<SocketResponse> {
    const version = await (this.#version ??= this.#negotiate(signal));
    return this.#request(method, `/v${version}${path}`, signal, stream);
  }

  /** Newer engines refuse old versions, and older engines new ones. */
  async #negotiate(signal: AbortSignal): Promise<string> {
    try {
      const answer = await this.#request('GET', '/version', signal);
      const { ApiVersion, MinAPIVersion } = this.#read(versionSchema, answer);
      const wanted = newestApi.join('.');
      if (isNewer(wanted, ApiVersion)) return ApiVersion;
      return MinAPIVersion !== undefined && isNewer(MinAPIVersion, wanted) ? MinAPIVersion : wanted;
    } catch (thrown) {
      this.#version = undefined;
      throw thrown;
    }
  }

  async #request(
    method: string,
    path: string,
    signal: AbortSignal,
    stream: Stream = {},
  ): Promise<SocketResponse> {
    const { socketPath } = this;
    try {
      const request = { socketPath, method, path, signal, maxBodyBytes };
      return await requestOverSocket({ ...request, ...stream });
    } catch (cause) {
      throw this.#toConnectionError(cause, signal.aborted);
    }
  }

  #read<T>(schema: z.ZodType<T>, answer: SocketResponse): T {
    if (answer.status !== 200)
      throw this.#failure(`HTTP ${answer.status}: ${this.#reasonOf(answer)}`);
    const parsed = schema.safeParse(parseJson(answer.text));
    if (parsed.success) return parsed.data;
    throw this.#failure('its response is not that of a container engine');
  }

  #reasonOf({ text }: SocketResponse): string {
    const { data } = errorSchema.safeParse(parseJson(text));
    return sanitizeExternalText(data?.message ?? 'no reason given', []);
  }

  #toConnectionError(cause: unknown, isAborted: boolean): SecretError {
    const code = errorCodeOf(cause) ?? 'the connection ended';
    if (code === 'EACCES' || code === 'EPERM')
      return this.#failure('the agent has no right to its socket', cause, 'run it as root');
    if (code === 'ENOENT' || code === 'ECONNREFUSED')
      return this.#failure('nothing listens on its socket', cause);
    return this.#failure(isAborted ? 'no response in time' : code, cause);
  }

  #failure(
    reason: string,
    cause?: unknown,
    hint = 'start the engine, or name its socket with --engine-socket',
  ): SecretError {
    const message = `the container engine on ${sanitizeUserText(this.socketPath)}: ${reason}`;
    return new SecretError('NOT_CONFIGURED', message, { hint, cause });
  }
}

/** Compares `1.41` with `1.9`. */
function isNewer(one: string, other: string): boolean {
  const [major = 0, minor = 0] = one.split('.').map(Number);
  const [otherMajor = 0, otherMinor = 0] = other.split('.').map(Number);
  return major > otherMajor || (major === otherMajor && minor > otherMinor);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
