import { styleText } from 'node:util';

/** Styles of the output. */
export type TerminalStyle = 'bold' | 'dim' | 'red' | 'yellow';

/** Returns the text in the style, or unchanged where the output has no styles. */
export type Styler = (style: TerminalStyle, text: string) => string;

/** An output that may be a terminal. */
export type Output = { write(text: string): unknown; readonly isTTY?: boolean };

/**
 * Creates the function that styles text for an output. A terminal has styles, unless TERM is
 * `dumb`. A NO_COLOR that is not empty (https://no-color.org) turns them off everywhere, and else a
 * FORCE_COLOR (https://force-color.org) that is not `0` or `false` turns them on.
 */
export function createStyler(
  output: Output,
  env: Readonly<Record<string, string | undefined>>,
): Styler {
  if (!hasStyles(output, env)) return (_, text) => text;
  // Otherwise Node decides once more, and for the output of this process.
  return (style, text) => styleText(style, text, { validateStream: false });
}

function hasStyles(
  { isTTY = false }: Output,
  { NO_COLOR = '', FORCE_COLOR = '', TERM }: Readonly<Record<string, string | undefined>>,
): boolean {
  if (NO_COLOR !== '' || ['0', 'false'].includes(FORCE_COLOR)) return false;
  return FORCE_COLOR !== '' || (isTTY && TERM !== 'dumb');
}
