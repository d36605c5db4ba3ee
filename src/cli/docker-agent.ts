import { Command } from 'commander';
import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Registry } from 'prom-client';
import { composeDockerAgent } from '../app/docker-agent.ts';
import { dockerAgentFlags, parseDockerAgentSettings } from '../config/docker-agent-settings.ts';
import type { RawSettings } from '../config/settings.ts';
import { HealthServer } from '../csi/health.ts';
import { RecentLog } from '../docker/agent/recent-log.ts';
import { createLog, standardOutput } from '../telemetry/log.ts';
import { createProcessMetrics } from '../telemetry/process-metrics.ts';
import { untilAborted } from './until-aborted.ts';

/** What {@link dockerAgentCommand} needs of the process. */
export type DockerAgentDeps = {
  readonly version: string;
  /** The path of the program. */
  readonly script: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts when the process is stopped. */
  readonly stop: AbortSignal;
};

/** Some thousand lines, for `docker dso logs --agent`. */
const recentLogBytes = 1_048_576;

/**
 * `keyferry docker-agent`: serves the container engine and `docker dso` until it is stopped, then
 * finishes the mounts in flight.
 */
export function dockerAgentCommand({ version, script, env, stop }: DockerAgentDeps): Command {
  const command = new Command('docker-agent').description(
    'serve secrets to the containers of docker dso on this host',
  );
  for (const option of dockerAgentFlags) command.addOption(option);
  return command.action(async (raw: RawSettings) => {
    const settings = parseDockerAgentSettings(raw);
    const recentLog = new RecentLog({ maxBytes: recentLogBytes, now: Date.now });
    const { logLevel, logFormat } = settings;
    const log = createLog(logLevel, logFormat, standardOutput(), recentLog);
    const registry = new Registry();
    createProcessMetrics(registry, version);
    // Every user of a container reads its volumes, which a stricter umask would prevent.
    process.umask(0o022);
    const { agent, close } = await composeDockerAgent({
      ...{ version, settings, env, log, recentLog, registry },
      defaultShimDir: join(dirname(realpathSync(script)), 'shim'),
    });
    await agent.start();
    const health = await startHealth(settings.healthAddress, { agent, registry, log });
    const { config, socket, pluginSocket, volumesDir } = settings;
    log.info({ version, config, socket, pluginSocket, volumesDir }, 'serving');
    await untilAborted(stop);
    log.info({ graceMs: settings.grace }, 'draining');
    await agent.drain(settings.grace);
    await close();
    await health?.close();
    log.info('stopped');
  });
}

async function startHealth(
  address: string | undefined,
  {
    agent,
    registry,
    log,
  }: {
    readonly agent: { problems(): readonly string[] };
    readonly registry: Registry;
    readonly log: ReturnType<typeof createLog>;
  },
): Promise<HealthServer | undefined> {
  if (address === undefined) return undefined;
  const problems = async (): Promise<readonly string[]> => agent.problems();
  const health = new HealthServer({ address, probe: problems, problems, registry, log });
  await health.start();
  return health;
}
