import { pino, type DestinationStream, type Logger } from 'pino';
import { toTextLine } from '../formats/log-text.ts';

/** The levels that an operator may choose. */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;

/** See {@link logLevels}. */
export type LogLevel = (typeof logLevels)[number];

/** How a line looks: JSON for programs, text for people. */
export const logFormats = ['json', 'text'] as const;

/** See {@link logFormats}. */
export type LogFormat = (typeof logFormats)[number];

/** Writes the log to standard output, for `docker logs NAME | grep`. */
export const standardOutput = (): DestinationStream => pino.destination({ dest: 1, sync: true });

/**
 * Creates the log: one line for each event, by default on standard error. `time` is ISO 8601 and
 * `level` a word. Secrets are `Redacted` everywhere in the program, so the log cannot contain them.
 * @param recent gets the same lines, always as JSON
 */
export function createLog(
  level: LogLevel,
  format: LogFormat,
  destination: DestinationStream = pino.destination({ dest: 2, sync: true }),
  recent?: DestinationStream,
): Logger {
  const write = (line: string): void => {
    recent?.write(line);
    destination.write(format === 'json' ? line : toTextLine(line));
  };
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
}
