import type { Option } from 'commander';
import { type LogFormat, type LogLevel, logFormats, logLevels } from '../telemetry/log.ts';
import {
  type RawSettings,
  flag,
  logFlags,
  parseAddresses,
  parseChoice,
  parseDuration,
  parsePatience,
} from './settings.ts';

/** The settings of the host agent of `docker dso`. Each has a flag and an environment variable. */
export type DockerAgentSettings = {
  /** The dso.yaml of the host. */
  readonly config: string;
  readonly socket: string;
  readonly pluginSocket: string;
  /** Absent: the agent asks nothing of the engine. */
  readonly engineSocket?: string;
  readonly volumesDir: string;
  readonly stateDir: string;
  /** Absent: beside the program. */
  readonly shimDir?: string;
  /** Absent: nowhere. */
  readonly healthAddress?: string;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** Milliseconds, as the next ones. */
  readonly grace: number;
  readonly refreshInterval: number;
  readonly maxStale: number;
  readonly firstMountPatience: number;
  readonly caFile?: string;
};

/** The flags, in the order of the help. */
export const dockerAgentFlags: readonly Option[] = [
  flag('--config <file>', 'the dso.yaml of this host', 'DSO_CONFIG').default('/etc/dso/dso.yaml'),
  flag('--socket <path>', 'the socket of docker dso', 'DSO_AGENT_SOCKET').default(
    '/run/dso/agent.sock',
  ),
  flag(
    '--plugin-socket <path>',
    'the socket of the volume driver; the engine looks for it in /run/docker/plugins',
    'DSO_PLUGIN_SOCKET',
  ).default('/run/docker/plugins/dso.sock'),
  flag(
    '--engine-socket <path>',
    'the socket of the container engine, to rotate services, and to start what failed while the agent was away; empty = none',
    'DSO_ENGINE_SOCKET',
  ).default('/run/docker.sock'),
  flag('--volumes-dir <dir>', 'where the volumes are; a tmpfs', 'DSO_VOLUMES_DIR').default(
    '/run/dso/volumes',
  ),
  flag(
    '--state-dir <dir>',
    'names and references of the projects; never a value',
    'DSO_STATE_DIR',
  ).default('/var/lib/dso'),
  flag('--shim-dir <dir>', 'the programs of make shim (default: beside keyferry)', 'DSO_SHIM_DIR'),
  flag(
    '--health-address <address>',
    'where /healthz, /readyz and /metrics listen: host:port or unix:/path (default: nowhere)',
    'DSO_HEALTH_ADDRESS',
  ),
  ...logFlags('DSO'),
  flag(
    '--grace <duration>',
    'how long starts of containers may take after SIGTERM',
    'DSO_GRACE',
  ).default('20s'),
  flag(
    '--refresh-interval <duration>',
    'how long a secret serves further starts before it is read again',
    'DSO_REFRESH_INTERVAL',
  ).default('10s'),
  flag(
    '--max-stale <duration>',
    'how long the last good value serves while a store does not respond; 0 = never',
    'DSO_MAX_STALE',
  ).default('10m'),
  flag(
    '--first-mount-patience <duration>',
    'how long a start without a cached value tries again while a store is away; at most 25s',
    'DSO_FIRST_MOUNT_PATIENCE',
  ).default('20s'),
  flag(
    '--ca-file <file>',
    "PEM file of CA certificates to trust in addition to the system's",
    'DSO_CA_FILE',
  ),
];

/** Checks the flags. @throws SecretError NOT_CONFIGURED naming the flag and its valid values */
export function parseDockerAgentSettings(raw: RawSettings): DockerAgentSettings {
  const text = (name: keyof DockerAgentSettings): string => raw[name] ?? '';
  const optional = (name: keyof DockerAgentSettings): Record<string, string> =>
    text(name) === '' ? {} : { [name]: text(name) };
  return {
    config: text('config'),
    socket: text('socket'),
    pluginSocket: text('pluginSocket'),
    ...optional('engineSocket'),
    volumesDir: text('volumesDir'),
    stateDir: text('stateDir'),
    ...optional('shimDir'),
    ...(raw.healthAddress && { healthAddress: parseAddresses(raw.healthAddress) }),
    logLevel: parseChoice(text('logLevel'), '--log-level', logLevels),
    logFormat: parseChoice(text('logFormat'), '--log-format', logFormats),
    grace: parseDuration(text('grace'), '--grace'),
    refreshInterval: parseDuration(text('refreshInterval'), '--refresh-interval'),
    maxStale: parseDuration(text('maxStale'), '--max-stale'),
    firstMountPatience: parsePatience(text('firstMountPatience')),
    ...optional('caFile'),
  };
}
