import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { createRateLimiterMetrics } from '../concurrency/rate-limiter.ts';
import type { DockerAgentSettings } from '../config/docker-agent-settings.ts';
import { SecretError, errorCodeOf, fileProblemOf } from '../core/errors.ts';
import { DockerAgent } from '../docker/agent/agent.ts';
import { compileGrants } from '../docker/agent/authorize.ts';
import { deliver } from '../docker/agent/deliver.ts';
import type { HostConfig } from '../docker/agent/effective-store.ts';
import { Stores } from '../docker/agent/stores.ts';
import { readDsoConfig } from '../docker/config/read.ts';
import type { DsoConfig } from '../docker/config/types.ts';
import { Engine } from '../docker/engine/engine.ts';
import { prepareTmpfs } from '../docker/volume/tmpfs.ts';
import { loadVersionKey } from '../mount/version-key.ts';
import { openHostStore } from '../providers/host-stores.ts';
import { createFingerprint } from '../providers/shared/identity/fingerprint.ts';
import { createOutgoingHttp, createPipeline } from './pipeline.ts';

/** A composed agent. */
export type DockerAgentComposition = {
  readonly agent: DockerAgent;
  /** Releases the leases of containers that are gone, and closes connections. */
  close(): Promise<void>;
};

/** What {@link composeDockerAgent} needs. */
export type ComposeDockerAgentDeps = {
  readonly version: string;
  readonly settings: DockerAgentSettings;
  /** Where the shims are if no setting says. */
  readonly defaultShimDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly registry: Registry;
};

const cacheBytes = 32 * 1024 * 1024;
/** The files of one service. */
const maxServiceBytes = 4 * 1024 * 1024;
const maxMounts = 512;

/**
 * The composition root of the host agent: the stores of its configuration, the same pipeline as
 * that of `serve`, and the agent in front of it.
 * @throws SecretError NOT_CONFIGURED
 */
export async function composeDockerAgent({
  version,
  settings,
  defaultShimDir,
  env,
  log,
  registry,
}: ComposeDockerAgentDeps): Promise<DockerAgentComposition> {
  const now = Date.now;
  const host = await readHostConfig(settings.config, log);
  const volumesDir = resolve(settings.volumesDir);
  await prepareTmpfs(volumesDir, { log });
  const http = await createOutgoingHttp(env, settings.caFile);
  const storeDeps = {
    ...{ env, http, now, log },
    fingerprint: createFingerprint(),
    rateLimiterMetrics: createRateLimiterMetrics(registry),
  };
  const stores = new Stores({
    openStore: (config, name) => openHostStore(config, { ...storeDeps, name }),
    isGranted: compileGrants(host.config.agent.grants),
    configFile: host.file,
  });
  const pipeline = createPipeline({
    ...{ providers: stores.providers, cacheBytes, maxMounts, registry, log, now },
    maxResponseBytes: maxServiceBytes,
    freshness: () => ({
      refreshIntervalMs: settings.refreshInterval,
      maxStaleMs: settings.maxStale,
    }),
    patienceMs: settings.firstMountPatience,
    presence: (instance) => agent.presence(instance),
    versionKey: await loadVersionKey(settings.stateDir),
  });
  const agent: DockerAgent = new DockerAgent({
    ...{ version, host, stores, volumesDir, log, now },
    deliver: (wanted, context) => deliver(wanted, context, { mount: pipeline.mount, stores, host }),
    leases: pipeline.leases,
    controlSocket: settings.socket,
    controlGid: await groupNumber('docker'),
    pluginSocket: settings.pluginSocket,
    stateDir: settings.stateDir,
    ...(settings.engineSocket !== undefined && { engine: new Engine(settings.engineSocket) }),
    shimDir: settings.shimDir ?? defaultShimDir,
  });
  return {
    agent,
    async close() {
      pipeline.tick();
      pipeline.close();
      await stores.close(AbortSignal.timeout(2_000));
      await http.close();
    },
  };
}

/**
 * A host without a configuration is served too: `docker dso up` then says what to do.
 * @throws SecretError NOT_CONFIGURED
 */
async function readHostConfig(
  file: string,
  log: Logger,
): Promise<HostConfig & { readonly config: DsoConfig }> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    if (errorCodeOf(cause) === 'ENOENT') {
      log.warn({ file }, 'there is no configuration of this host: make it with docker dso init');
      return '';
    }
    throw new SecretError('NOT_CONFIGURED', `${file} cannot be read: ${fileProblemOf(cause)}`, {
      hint: 'run the agent as root, or name another file with --config',
      cause,
    });
  });
  const { config, problems } = readDsoConfig(text, file);
  for (const { severity, message, hint, place } of problems)
    if (severity === 'warning') log.warn({ file, line: place?.line, hint }, message);
  if (config !== undefined) return { file, config };
  const [first, ...others] = problems.filter(({ severity }) => severity === 'error');
  const line = first?.place === undefined ? '' : ` line ${first.place.line}:`;
  throw new SecretError(
    'NOT_CONFIGURED',
    `${file} cannot be used:${line} ${first?.message ?? 'it has a problem'}`,
    { hint: first?.hint, others: others.map(({ message }) => message) },
  );
}

/** The number of a group of this host; undefined if there is no such group. */
async function groupNumber(name: string): Promise<number | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const groups = await readFile('/etc/group', 'utf8').catch(() => '');
  const [, number] = new RegExp(`^${name}:[^:]*:(\\d+):`, 'm').exec(groups) ?? [];
  return number === undefined ? undefined : Number(number);
}
