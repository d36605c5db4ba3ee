/** What a reader of a guide does, in the order of the page. */
export type GuideStep =
  | {
      readonly kind: 'command';
      readonly command: string;
      /** What it prints. Absent: the guide does not say. */
      readonly output?: string;
    }
  | { readonly kind: 'file'; readonly name: string; readonly text: string };

/**
 * The steps of a page. A block `sh` has commands. A block `console` has commands after `$`, each
 * with its output. A block `yaml` is a file if the line before it is its name: `` `dso.yaml`: ``.
 */
export function guideSteps(page: string): readonly GuideStep[] {
  const blocks = page.matchAll(/(?:^`([\w.-]+)`[^\n]*:\n\n)?^```(\w+)\n(.*?)^```$/gms);
  return [...blocks].flatMap(([, name, language, text = '']): readonly GuideStep[] => {
    if (language === 'sh')
      return splitCommands(text).map((command) => ({ kind: 'command', command }));
    if (language === 'console') return sessionSteps(text);
    return language === 'yaml' && name !== undefined ? [{ kind: 'file', name, text }] : [];
  });
}

/** A line is a command, with the lines that its last `\` or its here-document adds. */
function splitCommands(text: string): readonly string[] {
  const commands: string[] = [];
  let open = '';
  for (const line of text.split('\n')) {
    open += open === '' ? line : `\n${line}`;
    const end = /<<'?(\w+)'?/.exec(open)?.[1];
    const isOpen = end === undefined ? open.endsWith('\\') : line !== end;
    if (isOpen) continue;
    if (!/^(#.*|\s*)$/.test(open)) commands.push(open);
    open = '';
  }
  if (open !== '') throw new Error(`this command has no end: ${open}`);
  return commands;
}

function sessionSteps(text: string): readonly GuideStep[] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const [command = '', ...output] = part.split('\n');
      return { kind: 'command', command, output: output.join('\n').trimEnd() };
    });
}

/** What differs from one run to the next, each with what stands for it in a comparison. */
const variableShapes: readonly (readonly [RegExp, string])[] = [
  [/\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ/g, '<time>'],
  [/[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}/g, '<id>'],
  [/\b[\da-f]{32}\b/g, '<digest>'],
  [/\b\d+\.\d+\.\d+\b(?!\.)/g, '<version>'],
];

const withoutVariables = (text: string): string =>
  variableShapes.reduce((left, [shape, name]) => left.replace(shape, name), text);

/**
 * Whether a command has printed what the guide says. Times, ids and versions may differ. `…` stands
 * for other text of a line, and for any lines if it is alone.
 */
export function printsAsGuide(printed: string, expected: string): boolean {
  const pattern = expected
    .split('\n')
    .map((line) =>
      line === '…'
        ? '(?:[^\\n]*\\n)*?'
        : `${withoutVariables(line)
            .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
            .replaceAll('…', '[^\\n]*')}\\n`,
    )
    .join('');
  const lines = withoutVariables(printed)
    .replaceAll('\r', '')
    .split('\n')
    .map((line) => line.trimEnd())
    // Only on a kernel older than 6.4.
    .filter((line) => !line.startsWith('  note: it can be swapped out'));
  return new RegExp(`^${expected === '' ? '' : pattern}$`).test(lines.join('\n'));
}
