import { Option } from 'commander';
import { escapeUnprintable } from '../../core/safe-text.ts';

/** The output formats of the commands. */
export type Format = 'text' | 'json';

/** The option `--format`. */
export function formatOption(): Option {
  return new Option('-o, --format <format>', 'the output format')
    .choices(['text', 'json'])
    .default('text');
}

/** A table with aligned columns, each line ended. Cells are made printable. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const printable = rows.map((row) => row.map(escapeUnprintable));
  const widths = (printable[0] ?? []).map((_, column) =>
    Math.max(...printable.map((row) => row[column]?.length ?? 0)),
  );
  return printable
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** A time in UTC, as `2026-01-31 12:00:00Z`; `-` if there is none. */
export function formatTime(ms: number | undefined): string {
  return ms === undefined ? '-' : isoTime(ms).replace('T', ' ').replace(/\.\d+/, '');
}

/** A time as JSON has it. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
