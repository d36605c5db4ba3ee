import { Option } from 'commander';
import { tableLines } from '../../formats/text-table.ts';
import type { AgentFailure } from '../agent-api.ts';

/** The output formats of the commands. */
export type Format = 'text' | 'json';

/** The option `--format`. */
export function formatOption(): Option {
  return new Option('-o, --format <format>', 'the output format')
    .choices(['text', 'json'])
    .default('text');
}

/** A table with aligned columns, each line ended. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  return tableLines(rows, '   ')
    .map((line) => `${line}\n`)
    .join('');
}

/** A time in UTC, as `2026-01-31 12:00:00Z`; `-` if it is not known. */
export function formatTime(ms: number | undefined): string {
  return ms === undefined ? '-' : isoTime(ms).replace('T', ' ').replace(/\.\d+/, '');
}

/** A time as JSON has it. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** The cause and the remedy of a failure. */
export function failureText({ message, hint }: AgentFailure): string {
  return hint === undefined ? message : `${message}; ${hint}`;
}
