import { escapeUnprintable } from '../core/safe-text.ts';

/**
 * Turns a JSON line of the log into a line for people: `TIME LEVEL message name=value ...`. The
 * fields are in the order of the JSON. No character can break the line.
 */
export function toTextLine(json: string): string {
  const { time, level, msg, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const pairs = Object.entries(fields).map(([name, value]) => `${name}=${valueText(value)}`);
  const parts = [time, String(level).toUpperCase().padEnd(5), msg ?? '', ...pairs];
  return `${escapeUnprintable(parts.join(' '))}\n`;
}

/** A word is shown as it is, everything else as JSON. */
function valueText(value: unknown): string {
  return typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}
