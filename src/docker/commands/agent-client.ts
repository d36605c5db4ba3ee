import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { type ErrorCode, SecretError, codes, errorCodeOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { createLineReader } from '../../formats/lines.ts';
import type {
  AgentFailure,
  AgentInfo,
  LogEntry,
  LogQuery,
  ProjectRegistration,
  RefreshRequest,
  RefreshResult,
  SecretReader,
  ServiceStatus,
  StoreCheck,
  StoreSecret,
} from '../agent-api.ts';
import type { Environment } from '../compose/docker.ts';
import { defaultDriver } from '../model/volumes.ts';
import {
  type SocketRequest,
  type SocketResponse,
  requestOverSocket,
} from '../../sockets/socket-request.ts';
import { placesBelow } from '../setup/places.ts';

const maxBodyBytes = 64 * 1_048_576;
/** What the agent has in memory. */
const quickMs = 10_000;
/** What it asks a store for. */
const storeMs = 120_000;

/** How a request is sent. */
type Exchange = {
  readonly signal: AbortSignal;
  readonly body?: unknown;
  readonly stream?: Pick<SocketRequest, 'onOpen' | 'onPiece'>;
};

/** Asks the agent of the host: see `AgentInfo` and the table beside it. */
export class AgentClient implements SecretReader {
  readonly socket: string;
  readonly #driver: string;

  constructor({ DSO_AGENT_SOCKET = '', DSO_VOLUME_DRIVER = '' }: Environment) {
    this.socket = DSO_AGENT_SOCKET === '' ? placesBelow('/').controlSocket : DSO_AGENT_SOCKET;
    this.#driver = DSO_VOLUME_DRIVER === '' ? defaultDriver : DSO_VOLUME_DRIVER;
  }

  async volumes(): Promise<{ readonly driver: string }> {
    return { driver: this.#driver };
  }

  /** False if no agent runs, or if this user has no right to its socket. */
  async mayHaveProjects(): Promise<boolean> {
    return access(this.socket, constants.W_OK).then(
      () => true,
      () => false,
    );
  }

  async info(): Promise<AgentInfo> {
    return (await this.#call('GET', '/v1/info', quickMs)) as AgentInfo;
  }

  async putProject(name: string, project: ProjectRegistration): Promise<void> {
    await this.#call('PUT', `/v1/projects/${encodeURIComponent(name)}`, quickMs, project);
  }

  async deleteProject(name: string): Promise<void> {
    await this.#call('DELETE', `/v1/projects/${encodeURIComponent(name)}`, quickMs);
  }

  /** @param project absent: of all projects */
  async services(project?: string): Promise<readonly ServiceStatus[]> {
    const query = project === undefined ? '' : `?project=${encodeURIComponent(project)}`;
    return (await this.#call('GET', `/v1/services${query}`, quickMs)) as readonly ServiceStatus[];
  }

  async storeSecrets(store: string): Promise<readonly StoreSecret[]> {
    const path = `/v1/stores/${encodeURIComponent(store)}/secrets`;
    return (await this.#call('GET', path, storeMs)) as readonly StoreSecret[];
  }

  /** A step that fails is in the result. An agent without steps throws what it found. */
  async checkStore(store: string): Promise<StoreCheck> {
    const path = `/v1/stores/${encodeURIComponent(store)}/check`;
    return (await this.#call('POST', path, storeMs)) as StoreCheck;
  }

  async refresh(secret: RefreshRequest): Promise<RefreshResult> {
    return (await this.#call('POST', '/v1/refresh', storeMs, secret)) as RefreshResult;
  }

  /** @throws SecretError also if the agent stops while the log is followed */
  async readLog(
    query: LogQuery,
    onEntry: (entry: LogEntry) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { follow, tail, since, project, services = [] } = query;
    const parameters = new URLSearchParams();
    for (const name of services) parameters.append('service', name);
    for (const [name, value] of Object.entries({ follow, tail, since, project }))
      if (value !== undefined) parameters.set(name, String(value));
    const path = `/v1/log?${parameters.toString()}`;
    const readEntries = createLineReader((line) =>
      onEntry(JSON.parse(line.toString()) as LogEntry),
    );
    const failure: Buffer[] = [];
    let status = 0;
    const stream = {
      onOpen: (opened: number) => void (status = opened),
      onPiece: (piece: Buffer) => {
        if (status === 200) readEntries(piece);
        else failure.push(piece);
      },
    };
    try {
      await this.#exchange('GET', path, { signal, stream });
    } catch (thrown) {
      if (signal.aborted) return;
      if (status !== 200) throw thrown;
      throw new SecretError('NOT_CONFIGURED', 'the agent has stopped', {
        hint: 'run the command again when the agent runs',
        cause: thrown,
      });
    }
    if (status !== 200) this.#read({ status, text: Buffer.concat(failure).toString() });
  }

  async #call(method: string, path: string, timeoutMs: number, body?: unknown): Promise<unknown> {
    const signal = AbortSignal.timeout(timeoutMs);
    return this.#read(await this.#exchange(method, path, { signal, body }));
  }

  #read({ status, text }: SocketResponse): unknown {
    const answer = parseJson(text);
    if (status >= 200 && status < 300 && answer !== undefined) return answer;
    if (isFailure(answer)) throw toError(answer);
    throw new SecretError(
      'NOT_CONFIGURED',
      `what listens on ${this.#name} is not the agent of this docker dso: HTTP ${status}`,
      { hint: 'check that the agent and docker dso have the same version' },
    );
  }

  async #exchange(
    method: string,
    path: string,
    { signal, body, stream }: Exchange,
  ): Promise<SocketResponse> {
    try {
      const request = { socketPath: this.socket, method, path, body, signal, maxBodyBytes };
      return await requestOverSocket({ ...request, ...stream });
    } catch (thrown) {
      throw this.#toConnectionError(thrown, signal.aborted);
    }
  }

  get #name(): string {
    return sanitizeUserText(this.socket);
  }

  #toConnectionError(cause: unknown, isLate: boolean): SecretError {
    const code = errorCodeOf(cause) ?? 'the connection ended';
    if (code === 'EACCES' || code === 'EPERM')
      return new SecretError('NOT_CONFIGURED', `no right to the agent's socket ${this.#name}`, {
        hint: 'add yourself to the group docker and log in again, or use sudo',
        cause,
      });
    if (code === 'ENOENT' || code === 'ECONNREFUSED')
      return new SecretError(
        'NOT_CONFIGURED',
        `the agent of docker dso does not run: nothing listens on ${this.#name}`,
        {
          hint: 'start it: sudo systemctl start dso-agent; install it: sudo docker dso system setup; or use docker dso --mode local, without an agent',
          cause,
        },
      );
    const reason = isLate ? 'no response in time' : code;
    return new SecretError('NOT_CONFIGURED', `the agent on ${this.#name} failed: ${reason}`, {
      hint: 'look into its log: journalctl -u dso-agent',
      cause,
    });
  }
}

/** Undefined if it is no JSON. An empty body is an empty object. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text === '' ? '{}' : text) as unknown;
  } catch {
    return undefined;
  }
}

function isFailure(answer: unknown): answer is AgentFailure {
  if (typeof answer !== 'object' || answer === null) return false;
  return 'code' in answer && 'message' in answer && typeof answer.message === 'string';
}

function toError({ code, message, hint }: AgentFailure): SecretError {
  const known = Object.hasOwn(codes, code) ? (code as ErrorCode) : 'INTERNAL';
  return new SecretError(known, message, { hint });
}
