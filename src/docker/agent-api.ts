import type { SecretError } from '../core/errors.ts';
import { statusText } from '../core/safe-text.ts';
import type { StoreConfig, StoreType } from '../core/host-store.ts';
import type { Injection } from './model/types.ts';
import type { VolumeSource } from './model/volumes.ts';

/** Who reads the secrets: the agent of the host, or each command by itself. */
export type Mode = 'agent' | 'local';

/**
 * The agent's API: JSON over HTTP on a unix socket. The plugin is its only client. No value of a
 * secret passes through it.
 *
 * | request | body | response |
 * |---|---|---|
 * | `GET /v1/info` | | {@link AgentInfo} |
 * | `PUT /v1/projects/NAME` | {@link ProjectRegistration} | `{}` |
 * | `DELETE /v1/projects/NAME` | | `{}`; its services are forgotten when nothing mounts them |
 * | `GET /v1/services?project=NAME` | | {@link ServiceStatus}`[]`; without a name, all |
 * | `GET /v1/stores/NAME/secrets` | | {@link StoreSecret}`[]` |
 * | `POST /v1/stores/NAME/check` | | {@link StoreCheck}, also if a step fails |
 * | `POST /v1/refresh` | {@link RefreshRequest} | {@link RefreshResult} |
 * | `GET /v1/log` with a {@link LogQuery} | | lines: each a {@link LogEntry} |
 *
 * A failure has status 4xx or 5xx and the body {@link AgentFailure}.
 */
export type AgentInfo = {
  readonly version: string;
  /** `local`: there is no agent, and each command reads the stores itself. Default: `agent`. */
  readonly mode?: Mode;
  /** The file of its configuration. */
  readonly configFile: string;
  readonly stores: readonly StoreInfo[];
  /** The store of references that name none. */
  readonly defaultStore?: string;
  /** Whether `docker exec` sees the variables where a project does not say. */
  readonly exec: 'on' | 'off';
  /** Whether the runtime brings the variables where a project does not say. Default: `off`. */
  readonly runtime?: 'on' | 'off';
  readonly pollingIntervalMs: number;
  /** Absent: the agent has no socket of the engine. */
  readonly engine?: {
    readonly socket: string;
    /** Why the agent cannot use it. */
    readonly failure?: AgentFailure;
  };
  /** Whether the grants of the host limit what applications read. */
  readonly hasGrants: boolean;
  /** The secrets of a swarm whose last request has failed. Absent: none. */
  readonly swarmFailures?: readonly SwarmFailure[];
};

/** Why a service of a swarm has not got a secret. */
export type SwarmFailure = {
  /** `STACK/SERVICE`; `SERVICE/SERVICE` without a stack. */
  readonly service: string;
  /** Its name in the swarm. */
  readonly secret: string;
  readonly failure: AgentFailure;
};

/** A store of the host's configuration. */
export type StoreInfo = {
  readonly name: string;
  readonly type: StoreType;
  readonly region?: string;
  /** The first address of a Vault. */
  readonly address?: string;
  readonly authMethod?: string;
};

/** What a project's dso.yaml says of a store. It never has credentials. */
export type ProjectStore = Omit<StoreConfig, 'auth' | 'storeFile' | 'keyFile' | 'caFile'>;

/** What a project asks for, before its containers start. It replaces what it asked for before. */
export type ProjectRegistration = {
  readonly services: readonly Injection[];
  /** The stores that the project's own dso.yaml names, by name. */
  readonly stores: Readonly<Record<string, ProjectStore>>;
  /** The directory of the application, without links. */
  readonly directory?: string;
  /**
   * The user has named the project for this command. It then replaces that of another directory
   * also while its containers run.
   */
  readonly isNamed?: boolean;
};

/** A service with secrets. */
export type ServiceStatus = {
  readonly project: string;
  readonly service: string;
  /**
   * `ACTIVE`: its containers have the current values. `STALE`: a value changed after their start.
   * `INACTIVE`: no container has it mounted. `FAILED`: the last start or read failed.
   */
  readonly state: 'ACTIVE' | 'STALE' | 'INACTIVE' | 'FAILED';
  /** The number of containers that have it mounted. */
  readonly mounts: number;
  readonly secrets: readonly SecretStatus[];
  /** Of the last start or read. */
  readonly failure?: AgentFailure;
  /** Since when a container has had an earlier value, in milliseconds since the epoch. */
  readonly staleSince?: number;
  /** Absent: nothing happens to its containers when a secret changes. */
  readonly rotation?: RotationStatus;
};

/** What the agent does with the containers of a service when a secret changes. */
export type RotationStatus = {
  readonly strategy: 'restart' | 'rolling' | 'signal' | 'auto';
  /** `failed`: the last attempt has failed, and the agent tries again. */
  readonly state: 'idle' | 'running' | 'failed';
  /** When the last rotation succeeded, in milliseconds since the epoch. */
  readonly rotatedAt?: number;
  /** Of `failed`. */
  readonly failure?: AgentFailure;
};

/** One secret of a service. */
export type SecretStatus = {
  /** The variable, or the path of the file in the container. */
  readonly name: string;
  readonly kind: 'variable' | 'file';
  /** As a reference: `dso://my-app/database#password`. */
  readonly source: string;
  readonly store: string;
  /** Absent before the first read. */
  readonly version?: string;
  /** When the containers got this version, in milliseconds since the epoch. */
  readonly deliveredAt?: number;
};

/** A secret of a store. */
export type StoreSecret = {
  readonly path: string;
  readonly version?: string;
  /** Milliseconds since the epoch. */
  readonly changedAt?: number;
  /** `PROJECT/SERVICE` of those that read it. */
  readonly usedBy: readonly string[];
};

/** How a store was checked. */
export type StoreCheck = {
  /** In their order. One that fails is the last. Absent: the store has no steps, and is well. */
  readonly steps?: readonly CheckedStep[];
};

/** One step of a check, such as a login. */
export type CheckedStep = {
  /** What it does: `log in with approle`. */
  readonly name: string;
  /** In a few words. */
  readonly found?: string;
  readonly failure?: AgentFailure;
};

/** Asks to read a secret again now. */
export type RefreshRequest = {
  /** Absent: the default store. */
  readonly store?: string;
  readonly path: string;
};

/** See {@link RefreshRequest}. */
export type RefreshResult = {
  readonly store: string;
  readonly version?: string;
  /** `PROJECT/SERVICE` of those that read it. */
  readonly services: readonly {
    readonly name: string;
    /** Whether the values differ from those that its containers started with. */
    readonly changed: boolean;
    /** Whether the agent brings them to its containers. */
    readonly rotates: boolean;
  }[];
};

/**
 * Which lines of the agent's log a request asks for, as parameters of its query:
 * `?follow=true&tail=10&since=0&project=shop&service=app&service=web`. Default: all that it has.
 */
export type LogQuery = {
  /** Whether the lines to come are sent as well. */
  readonly follow?: boolean;
  /** How many of the lines that are there, the newest. */
  readonly tail?: number;
  /** Milliseconds since the epoch. */
  readonly since?: number;
  /** Only lines about it. */
  readonly project?: string;
  /** Only lines about one of them. */
  readonly services?: readonly string[];
};

/** A line of the log. */
export type LogRecord = {
  /** ISO 8601. */
  readonly time: string;
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
};

/** A line, or how many lines are missing here: the reader was too slow for them. */
export type LogEntry = LogRecord | { readonly missed: number };

/** Why a request failed. Safe to show. */
export type AgentFailure = {
  /** A code of docs/errors.md. */
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
};

/**
 * Who reads the secrets for the plugin: the agent of the host or, in local mode, the plugin itself.
 * All methods throw SecretError.
 */
export type SecretReader = {
  /** @throws SecretError NOT_CONFIGURED also if no agent runs */
  info(): Promise<AgentInfo>;
  /** Where the engine takes the volumes from. */
  volumes(): Promise<VolumeSource>;
  /** @param selected the services that start now; local mode reads no others */
  putProject(
    name: string,
    project: ProjectRegistration,
    selected: ReadonlySet<string>,
  ): Promise<void>;
  /** Forgets a project. */
  deleteProject(name: string): Promise<void>;
  /** Whether there can be something to forget. */
  mayHaveProjects(): Promise<boolean>;
  /** @param project absent: of all projects */
  services(project?: string): Promise<readonly ServiceStatus[]>;
  storeSecrets(store: string): Promise<readonly StoreSecret[]>;
  checkStore(store: string): Promise<StoreCheck>;
  refresh(secret: RefreshRequest): Promise<RefreshResult>;
  /** Calls `onEntry` for each. To follow, it ends with the signal. */
  readLog(query: LogQuery, onEntry: (entry: LogEntry) => void, signal: AbortSignal): Promise<void>;
};

/** An error as a response has it. */
export function toFailure({ code, message, hint }: SecretError): AgentFailure {
  return {
    code,
    message: statusText(message),
    ...(hint !== undefined && { hint: statusText(hint) }),
  };
}
