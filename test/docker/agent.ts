import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createPipeline } from '../../src/app/pipeline.ts';
import { SecretError } from '../../src/core/errors.ts';
import type { HostStore } from '../../src/core/host-store.ts';
import type { FetchRequest, FetchResult } from '../../src/core/provider.ts';
import { Redacted } from '../../src/core/redacted.ts';
import { DockerAgent } from '../../src/docker/agent/agent.ts';
import { RecentLog } from '../../src/docker/agent/recent-log.ts';
import { compileGrants } from '../../src/docker/delivery/authorize.ts';
import { deliver } from '../../src/docker/delivery/deliver.ts';
import { leasesInSwarm } from '../../src/docker/agent/swarm-secrets.ts';
import { refuseLeases } from '../../src/docker/delivery/refuse-leases.ts';
import type { RecoveryDelays } from '../../src/docker/agent/engine-recovery.ts';
import type { RotationDelays } from '../../src/docker/rotation/rotator.ts';
import { Stores } from '../../src/docker/delivery/stores.ts';
import type { ProjectRegistration } from '../../src/docker/agent-api.ts';
import { Engine } from '../../src/docker/engine/engine.ts';
import { readDsoConfig } from '../../src/docker/config/read.ts';
import type { Injection } from '../../src/docker/model/types.ts';

/** The response to a request over a unix socket. */
export type SocketResponse = { readonly status: number; readonly json: never };

/** Sends a request as an engine or the plugin does. */
export async function requestOver(
  socketPath: string,
  method: string,
  path: string,
  body?: string,
  signal?: AbortSignal,
): Promise<SocketResponse> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = request({ socketPath, method, path, agent: false, ...(signal && { signal }) });
    sent.once('response', resolve).once('error', reject);
    sent.end(body);
  });
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece as string;
  return { status: response.statusCode ?? 0, json: JSON.parse(text) as never };
}

/** A store in memory. A secret can be a credential that is made again at each read. */
export class MemoryStore {
  readonly values = new Map<string, Uint8Array | string | (() => string)>();
  /** The paths of all reads, in their order. */
  readonly reads: string[] = [];
  readonly released: string[] = [];
  /** A read waits for it. */
  gate: Promise<void> = Promise.resolve();
  /** Whether leases can be handed over to a later process. */
  keepsLeases = false;
  /** Whether leases cannot be extended. */
  endsLeases = false;
  /** The leases of earlier processes. */
  readonly takenOver: string[] = [];
  /** Fails all reads. */
  failure: SecretError | undefined;
  #leases = 0;

  open(): HostStore {
    return {
      grantScope: 'pod',
      refFor: (path) => ({ service: 'memory', name: path }),
      principal: async () => ({
        ...{ fingerprint: 'host', description: 'memory', kind: 'shared' as const },
        credentials: async () => undefined,
      }),
      fetch: (requests) => requests.map((each) => this.#read(each)),
      renew: async () =>
        this.endsLeases
          ? { kind: 'ended' }
          : { kind: 'renewed', expiresAt: Date.now() + 3_600_000 },
      release: async (_, { id }) => void this.released.push(id),
      handOver: (_, { id }) => (this.keepsLeases ? new Redacted(`token of ${id}`) : undefined),
      takeOver: (_, lease, secret) => {
        if (secret.reveal() !== `token of ${lease.id}`) throw new Error('another lease');
        this.takenOver.push(lease.id);
        return lease;
      },
      check: async () => {
        if (this.failure !== undefined) throw this.failure;
      },
      list: async () => Array.from(this.values.keys(), (path) => ({ path })),
    };
  }

  async #read({ grant: { ref }, known, signal }: FetchRequest): Promise<FetchResult> {
    this.reads.push(ref.name);
    const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
    await Promise.race([this.gate, aborted]);
    if (this.failure !== undefined) return { kind: 'failed', error: this.failure };
    if (known?.lease !== undefined) return { kind: 'unchanged' };
    const value = this.values.get(ref.name);
    if (value === undefined) {
      const message = `there is no secret ${ref.name}`;
      return { kind: 'absent', error: new SecretError('OBJECT_NOT_FOUND', message) };
    }
    if (typeof value !== 'function')
      return { kind: 'value', value: { bytes: Buffer.from(value), version: versionOf(value) } };
    const id = `lease-${++this.#leases}`;
    const lease = { id, renewable: true, expiresAt: Date.now() + 3_600_000 };
    return { kind: 'value', value: { bytes: Buffer.from(value()), version: id, lease } };
  }
}

const versionOf = (value: Uint8Array | string): string =>
  `v${Buffer.from(value).reduce((sum, byte) => (sum * 31 + byte) % 1_000_003, 7)}`;

/** Options of {@link startAgent}. */
export type AgentOptions = {
  readonly folder: string;
  readonly store: MemoryStore;
  /** The stores of type `local`. Default: the same. */
  readonly localStore?: MemoryStore;
  /** The dso.yaml of the host. */
  readonly config?: string;
  /** Default: the agent asks nothing of an engine. */
  readonly engineSocket?: string;
  readonly recoveryDelays?: RecoveryDelays;
  readonly rotationDelays?: RotationDelays;
};

/** An agent in this process, on real sockets, with {@link MemoryStore} as the store `vault`. */
export class TestAgent {
  readonly folder: string;
  readonly lines: string[] = [];
  /** Milliseconds to add to the time. */
  clockOffset = 0;
  readonly registry = new Registry();
  readonly tick: () => void;
  readonly agent: DockerAgent;
  readonly #close: () => void;

  constructor(options: AgentOptions) {
    const { folder, store, config = defaultConfig, engineSocket } = options;
    const { recoveryDelays, rotationDelays, localStore = store } = options;
    this.folder = folder;
    mkdirSync(this.path('volumes'), { recursive: true });
    mkdirSync(this.path('shim'), { recursive: true });
    for (const architecture of ['amd64', 'arm64'])
      writeFileSync(this.path(`shim/dso-shim-linux-${architecture}`), 'the shim');
    const now = (): number => Date.now() + this.clockOffset;
    const recentLog = new RecentLog({ maxBytes: 2 ** 20, now });
    const write = (line: string): void => {
      this.lines.push(line);
      recentLog.write(line);
    };
    const log = pino({ level: 'debug' }, { write });
    const read = readDsoConfig(config, 'dso.yaml');
    const host = { file: '/etc/dso/dso.yaml', config: read.config! };
    const stores = new Stores({
      openStore: async ({ type }, name) =>
        refuseLeases((type === 'local' ? localStore : store).open(), name, leasesInSwarm),
      isGranted: compileGrants(host.config.agent.grants),
      host,
    });
    const pipeline = createPipeline({
      ...{
        providers: stores.providers,
        cacheBytes: 2 ** 24,
        maxMounts: 512,
        maxResponseBytes: 2 ** 22,
      },
      freshness: () => ({ refreshIntervalMs: 10_000, maxStaleMs: 600_000 }),
      patienceMs: 0,
      presence: (instance) => this.agent.presence(instance),
      keepsReplacedLeases: true,
      versionKey: Buffer.alloc(32, 1),
      registry: this.registry,
      ...{ log, now },
    });
    this.tick = pipeline.tick;
    this.#close = pipeline.close;
    this.agent = new DockerAgent({
      ...{ version: '1.2.3', host, stores, log, recentLog, now },
      deliver: (wanted, context) =>
        deliver(wanted, context, { mount: pipeline.mount, stores, host }),
      leases: pipeline.leases,
      controlSocket: this.path('agent.sock'),
      pluginSocket: this.path('plugins/dso.sock'),
      volumesDir: this.path('volumes'),
      stateDir: this.path('state'),
      shimDir: this.path('shim'),
      ...(engineSocket !== undefined && { engine: new Engine(engineSocket) }),
      recoveryDelays,
      rotationDelays,
      registry: this.registry,
    });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Calls the volume driver, as an engine does. */
  async driver(call: string, body: object = {}, signal?: AbortSignal): Promise<DriverResponse> {
    const { json } = await requestOver(
      this.path('plugins/dso.sock'),
      'POST',
      call.includes('.') ? `/${call}` : `/VolumeDriver.${call}`,
      JSON.stringify(body),
      signal,
    );
    return json;
  }

  /** Mounts a volume. @returns `Err`, empty for a success */
  async mount(name: string, id: string): Promise<string> {
    return (await this.driver('Mount', { Name: name, ID: id })).Err;
  }

  async unmount(name: string, id: string): Promise<string> {
    return (await this.driver('Unmount', { Name: name, ID: id })).Err;
  }

  /** Calls the control API, as the plugin does. */
  control(method: string, path: string, body?: object): Promise<SocketResponse> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return requestOver(this.path('agent.sock'), method, path, text);
  }

  /** Registers a project of these services. */
  async register(
    project: string,
    services: Readonly<Record<string, Partial<Injection>>>,
    stores: ProjectRegistration['stores'] = {},
  ): Promise<SocketResponse> {
    const injections = Object.entries(services).map(([service, parts]) => ({
      ...{ project, service, variables: [], files: [], exec: 'on' },
      ...parts,
    }));
    return this.control('PUT', `/v1/projects/${project}`, { services: injections, stores });
  }

  /** The variables that a container of the service has. */
  variables(project: string, service: string): Readonly<Record<string, string>> {
    const text = readFileSync(this.path(`volumes/dso_${project}.${service}/env`), 'utf8');
    const entries = text.split('\0').slice(0, -1);
    return Object.fromEntries(entries.map((entry) => entry.split(/=(.*)/s) as [string, string]));
  }

  async stop(graceMs = 1_000): Promise<void> {
    await this.agent.drain(graceMs);
    this.#close();
  }
}

const defaultConfig = 'providers: {vault: {type: vault, address: "https://vault:8200"}}';

/** What the volume driver responds. */
export type DriverResponse = {
  readonly Err: string;
  readonly Mountpoint?: string;
  readonly Implements?: readonly string[];
  readonly Capabilities?: object;
  readonly Volume?: object;
  readonly Volumes?: readonly { readonly Name: string }[];
};

/** A folder for an agent, and its removal. */
export function agentFolder(): { readonly folder: string; readonly remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'kf-agent-'));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Waits until `check` does not throw. */
export async function eventually(check: () => unknown, timeoutMs = 10_000): Promise<void> {
  for (const deadline = Date.now() + timeoutMs; ; await sleep(10))
    try {
      await check();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
}
