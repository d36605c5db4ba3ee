import { pino, type DestinationStream, type Logger } from 'pino';

/** Levels an operator may choose. */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;

/** See {@link logLevels}. */
export type LogLevel = (typeof logLevels)[number];

/**
 * The log: JSON, a line an event, on standard error unless told otherwise. Secrets are {@link Redacted} before they come near it.
 * `time` is ISO 8601, `level` a word.
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
