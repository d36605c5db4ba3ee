import * as z from 'zod';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { sanitizeExternalText, sanitizeUserText } from '../../core/safe-text.ts';
import {
  type SocketRequest,
  type SocketResponse,
  requestOverSocket,
} from '../../sockets/socket-request.ts';

/** What {@link EngineConnection.request} sends. */
export type EngineRequest = Pick<SocketRequest, 'body' | 'onOpen' | 'onPiece'> & {
  readonly method: string;
  /** Without the version of the API: `/containers/json?all=1`. */
  readonly path: string;
  readonly signal: AbortSignal;
  /** Asks in the newest version of the API that the engine has. Default: see `newestApi`. */
  readonly inNewestApi?: boolean;
};

/** Versions of the API, as `1.41`. */
type Versions = { readonly newest: string; readonly usual: string };

/** The API that was tried: that of engine 20.10. */
const newestApi = [1, 41] as const;
const maxBodyBytes = 64 * 1_048_576;

const versionSchema = z.object({ ApiVersion: z.string(), MinAPIVersion: z.string().optional() });
const errorSchema = z.object({ message: z.string() });

/** Requests to a container engine over its unix socket, in a version of the API that it has. */
export class EngineConnection {
  readonly socketPath: string;
  #versions: Promise<Versions> | undefined;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  /** The next request asks for the version again: the engine may be another one than before. */
  forgetVersion(): void {
    this.#versions = undefined;
  }

  /** @throws SecretError NOT_CONFIGURED if there is no response */
  async request(request: EngineRequest): Promise<SocketResponse> {
    const { newest, usual } = await (this.#versions ??= this.#negotiate(request.signal));
    const version = request.inNewestApi === true ? newest : usual;
    return this.#send({ ...request, path: `/v${version}${request.path}` });
  }

  /**
   * Reads the body of a response.
   * @throws SecretError NOT_CONFIGURED if it has another status than 200 or 201, or another shape
   */
  read<T>(schema: z.ZodType<T>, response: SocketResponse): T {
    if (response.status !== 200 && response.status !== 201) throw this.refusal(response);
    const parsed = schema.safeParse(parseJson(response.text));
    if (parsed.success) return parsed.data;
    throw this.failure('its response is not that of a container engine');
  }

  /** The engine's own reason. */
  refusal({ status, text }: SocketResponse): SecretError {
    const { data } = errorSchema.safeParse(parseJson(text));
    const reason = sanitizeExternalText(data?.message ?? 'no reason given', []);
    return this.failure(`HTTP ${status}: ${reason}`);
  }

  failure(
    reason: string,
    cause?: unknown,
    hint = 'start the engine, or name its socket with --engine-socket',
  ): SecretError {
    const message = `the container engine on ${sanitizeUserText(this.socketPath)}: ${reason}`;
    return new SecretError('NOT_CONFIGURED', message, { hint, cause });
  }

  /** Newer engines refuse old versions, and older engines new ones. */
  async #negotiate(signal: AbortSignal): Promise<Versions> {
    try {
      const response = await this.#send({ method: 'GET', path: '/version', signal });
      const { ApiVersion: newest, MinAPIVersion: oldest } = this.read(versionSchema, response);
      const wanted = newestApi.join('.');
      if (isNewer(wanted, newest)) return { newest, usual: newest };
      const isTooOld = oldest !== undefined && isNewer(oldest, wanted);
      return { newest, usual: isTooOld ? oldest : wanted };
    } catch (thrown) {
      this.#versions = undefined;
      throw thrown;
    }
  }

  async #send(request: EngineRequest): Promise<SocketResponse> {
    const { socketPath } = this;
    try {
      return await requestOverSocket({ ...request, socketPath, maxBodyBytes });
    } catch (cause) {
      throw this.#toConnectionError(cause, request.signal.aborted);
    }
  }

  #toConnectionError(cause: unknown, isAborted: boolean): SecretError {
    const code = errorCodeOf(cause) ?? 'the connection ended';
    if (code === 'EACCES' || code === 'EPERM')
      return this.failure('the agent has no right to its socket', cause, 'run it as root');
    if (code === 'ENOENT' || code === 'ECONNREFUSED')
      return this.failure('nothing listens on its socket', cause);
    return this.failure(isAborted ? 'no response in time' : code, cause);
  }
}

/** Compares `1.41` with `1.9`. */
function isNewer(one: string, other: string): boolean {
  const [major = 0, minor = 0] = one.split('.').map(Number);
  const [otherMajor = 0, otherMinor = 0] = other.split('.').map(Number);
  return major > otherMajor || (major === otherMajor && minor > otherMinor);
}

/** Undefined if it is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
