import { pino, type DestinationStream, type Logger } from 'pino';

/** The levels that an operator may choose. */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;

/** See {@link logLevels}. */
export type LogLevel = (typeof logLevels)[number];

/**
 * Creates the log: one JSON line for each event, by default on standard error. `time` is ISO 8601
 * and `level` a word. Secrets are `Redacted` everywhere in the program, so the log cannot
 * contain them.
 */
export function createLog(
  level: LogLevel,
  destination: DestinationStream = pino.destination({ dest: 2, sync: true }),
): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}
