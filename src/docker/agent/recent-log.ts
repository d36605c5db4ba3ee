import type { DestinationStream } from 'pino';
import type { LogEntry, LogQuery } from '../agent-api.ts';

/** Options of a {@link RecentLog}. */
export type RecentLogOptions = {
  /** What the lines may cost in memory. The oldest ones go first. */
  readonly maxBytes: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

type Line = { readonly at: number; readonly text: string; readonly bytes: number };

/** Of an entry of the array, and of its object. */
const overheadBytes = 100;

/**
 * The last lines of the agent's log, in memory. A reader has no queue: it holds the number of its
 * next line. One that is slower than the log misses the lines that are gone then, and is told so.
 */
export class RecentLog implements DestinationStream {
  readonly #options: RecentLogOptions;
  readonly #lines: Line[] = [];
  /** The number of the oldest line. */
  #first = 0;
  #bytes = 0;
  readonly #waiting = new Set<() => void>();

  constructor(options: RecentLogOptions) {
    this.#options = options;
  }

  /** @param text one line of JSON, with its end */
  write(text: string): void {
    const { maxBytes, now } = this.#options;
    // A text has at most two bytes a character.
    const bytes = 2 * text.length + overheadBytes;
    this.#lines.push({ at: now(), text, bytes });
    this.#bytes += bytes;
    while (this.#bytes > maxBytes) {
      this.#bytes -= this.#lines.shift()?.bytes ?? 0;
      this.#first += 1;
    }
    for (const wake of [...this.#waiting]) wake();
  }

  /**
   * The lines of a query, each with its end. To follow, it waits for more until the signal.
   * @returns lines of JSON: each is a {@link LogEntry}
   */
  async *read(query: LogQuery, signal: AbortSignal): AsyncGenerator<string> {
    const isWanted = filterOf(query);
    const end = query.follow === true ? Infinity : this.#end;
    let next = this.#startOf(query, isWanted);
    while (next < end && !signal.aborted) {
      if (next < this.#first) {
        yield missed(this.#first - next);
        next = this.#first;
      }
      const line = this.#lines[next - this.#first];
      if (line === undefined) {
        await this.#added(signal);
        continue;
      }
      next += 1;
      if (isWanted(line)) yield line.text;
    }
  }

  /** The number of the next line. */
  get #end(): number {
    return this.#first + this.#lines.length;
  }

  /** The number of the first line of a query. */
  #startOf({ tail = Infinity, since = -Infinity }: LogQuery, isWanted: Filter): number {
    let start = this.#lines.length;
    for (let count = 0; start > 0 && count < tail; start -= 1) {
      const line = this.#lines[start - 1];
      if (line === undefined || line.at < since) break;
      if (isWanted(line)) count += 1;
    }
    return this.#first + start;
  }

  #added(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake);
    });
  }
}

type Filter = (line: Line) => boolean;

function filterOf({ project, services = [] }: LogQuery): Filter {
  if (project === undefined && services.length === 0) return () => true;
  return ({ text }) => {
    const record = JSON.parse(text) as { readonly project?: unknown; readonly service?: unknown };
    return (
      (project === undefined || record.project === project) &&
      (services.length === 0 || services.some((name) => name === record.service))
    );
  };
}

function missed(count: number): string {
  const entry: LogEntry = { missed: count };
  return `${JSON.stringify(entry)}\n`;
}
