import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { DockerAgentSettings } from '../config/docker-agent-settings.ts';
import { DockerAgent, type DockerAgentOptions } from '../docker/agent/agent.ts';
import { leasesInSwarm } from '../docker/agent/swarm-secrets.ts';
import { refuseLeases } from '../docker/delivery/refuse-leases.ts';
import { Engine } from '../docker/engine/engine.ts';
import { createRunProgram } from '../docker/run-program.ts';
import { prepareTmpfs } from '../docker/volume/tmpfs.ts';
import { loadVersionKey } from '../mount/version-key.ts';
import { readHostConfig } from './host-config.ts';
import { createHostPipeline } from './host-pipeline.ts';

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
  readonly recentLog: DockerAgentOptions['recentLog'];
  readonly registry: Registry;
};

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
  recentLog,
  registry,
}: ComposeDockerAgentDeps): Promise<DockerAgentComposition> {
  const now = Date.now;
  const hint = 'run the agent as root, or name another file with --config';
  const file = settings.config;
  const host = await readHostConfig(file, {
    hint,
    warn: (message, details) => log.warn({ file, ...details }, message),
  });
  const volumesDir = resolve(settings.volumesDir);
  await prepareTmpfs(volumesDir, { log, run: createRunProgram(env) });
  const { refreshInterval, maxStale, firstMountPatience } = settings;
  const { stores, deliver, leases, close } = await createHostPipeline({
    ...{ host, env, log, registry, refreshInterval, maxStale, firstMountPatience },
    caFile: settings.caFile,
    presence: (instance) => agent.presence(instance),
    wrapStore: (store, name) => refuseLeases(store, name, leasesInSwarm),
    versionKey: await loadVersionKey(settings.stateDir),
  });
  const agent: DockerAgent = new DockerAgent({
    ...{ version, host, stores, deliver, leases, volumesDir, log, recentLog, now },
    registry,
    controlSocket: settings.socket,
    controlGid: await groupNumber('docker'),
    pluginSocket: settings.pluginSocket,
    stateDir: settings.stateDir,
    ...(settings.engineSocket !== undefined && { engine: new Engine(settings.engineSocket) }),
    shimDir: settings.shimDir ?? defaultShimDir,
  });
  return { agent, close };
}

/** The number of a group of this host; undefined if there is no such group. */
async function groupNumber(name: string): Promise<number | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const groups = await readFile('/etc/group', 'utf8').catch(() => '');
  const [, number] = new RegExp(`^${name}:[^:]*:(\\d+):`, 'm').exec(groups) ?? [];
  return number === undefined ? undefined : Number(number);
}
