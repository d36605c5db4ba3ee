import { escapeUnprintable } from '../core/safe-text.ts';

/**
 * A table with aligned columns: its lines, without blanks at their ends. Cells are made printable.
 * @param gap what stands between two columns
 */
export function tableLines(rows: readonly (readonly string[])[], gap: string): readonly string[] {
  const printable = rows.map((row) => row.map(escapeUnprintable));
  const widths = (printable[0] ?? []).map((_, column) =>
    Math.max(...printable.map((row) => row[column]?.length ?? 0)),
  );
  return printable.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(gap)
      .trimEnd(),
  );
}
