import { InvalidArgumentError, Option } from 'commander';
import type { LogEntry, LogQuery, LogRecord } from '../agent-api.ts';
import { watchDockerCli } from '../compose/docker-cli-socket.ts';
import type { CommandContext } from './context.ts';

const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** The option `--since`, as that of `docker logs`: milliseconds since the epoch. */
export function sinceOption(): Option {
  const about = 'as 2026-01-31T12:00:00Z, or how long ago: 10m';
  return new Option('--since <time>', about).argParser((text) => {
    const at = readTime(text);
    if (at >= 0) return Math.floor(at);
    throw new InvalidArgumentError(`Write a time ${about}.`);
  });
}

/** How long ago, a Unix time in seconds, or ISO 8601. NaN for any other text. */
function readTime(text: string): number {
  if (/^(\d+(\.\d+)?(ms|[smh]))+$/.test(text)) {
    const parts = [...text.matchAll(/([\d.]+)(ms|[smh])/g)];
    return parts.reduce((at, [, n, unit = '']) => at - Number(n) * (units[unit] ?? 0), Date.now());
  }
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1_000 : Date.parse(text);
}

/**
 * Shows the lines of the agent's log, and says on standard error that some are missing. To follow,
 * it ends when `docker` is told to, or when the reader of the output has left.
 */
export async function showLog(
  { agent, env, stderr, outputEnd }: CommandContext,
  query: LogQuery,
  show: (record: LogRecord) => void,
): Promise<void> {
  const dockerEnd = new AbortController();
  const watch = watchDockerCli(env.DOCKER_CLI_PLUGIN_SOCKET ?? '', () => dockerEnd.abort());
  const onEntry = (entry: LogEntry): void => {
    if (isRecord(entry)) return show(entry);
    stderr.write(
      `docker dso: ${entry.missed} lines of the agent's log are missing here: it has more than this command takes\n`,
    );
  };
  try {
    await agent.readLog(query, onEntry, AbortSignal.any([outputEnd, dockerEnd.signal]));
  } finally {
    watch.close();
  }
}

function isRecord(entry: LogEntry): entry is LogRecord {
  return 'msg' in entry;
}
