import { escapeUnprintable } from '../../core/safe-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { Styler } from '../../formats/terminal-style.ts';
import type { Diagnostic, SourceLocation } from './diagnostic.ts';

/** The result of lint for all its input. */
export type LintReport = {
  readonly files: number;
  readonly classes: number;
  /** In the order of the input. */
  readonly diagnostics: readonly Diagnostic[];
  /** Checks that need a cluster or a node, and were skipped. */
  readonly skipped: readonly {
    readonly file: string;
    readonly class: string;
    /** Empty if the class names none. */
    readonly namespace: string;
    readonly check: string;
  }[];
  /** Objects that are not Keyferry's to check, with the reason, such as `provider azure`. */
  readonly leftOut: readonly (SourceLocation & {
    readonly class: string;
    readonly namespace: string;
    readonly reason: string;
  })[];
};

/** The output formats. */
export const lintFormats = ['text', 'json', 'github'] as const;

/** See {@link lintFormats}. */
export type LintFormat = (typeof lintFormats)[number];

/**
 * Formats the report. Names and messages contain the class author's text, so they are escaped. Only
 * the format `text` is styled.
 */
export function formatLint(report: LintReport, format: LintFormat, style: Styler): string {
  return { text: forTerminal, json: asJson, github: forGitHub }[format](report, style);
}

function forTerminal(report: LintReport, style: Styler): string {
  const diagnostics = report.diagnostics.map(
    ({ place, severity, message, remedy, code, ...spc }) => {
      const name = fullName(spc);
      const subject = name === '' ? '' : `class ${name}: `;
      const advice = remedy === undefined ? [] : [escapeUnprintable(`    ${remedy}`)];
      const label = code === undefined ? '' : ` [${code}]`;
      const location = escapeUnprintable(`${place.file}:${place.line}:${place.column}:`);
      const kind = style(severity === 'error' ? 'red' : 'yellow', `${severity}:`);
      const text = escapeUnprintable(`${subject}${message}${label}`);
      return [`${style('bold', location)} ${kind} ${text}`, ...advice];
    },
  );
  const skipped = report.skipped.map(({ file, check, ...spc }) =>
    escapeUnprintable(`${file}: class ${fullName(spc)}: not checked here: ${check}`),
  );
  return [...diagnostics.flat(), ...skipped, summary(report)].map((line) => `${line}\n`).join('');
}

/** `namespace/class`, or what is known of it. */
function fullName({
  class: name = '',
  namespace = '',
}: Pick<Diagnostic, 'class' | 'namespace'>): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}

/** The format is stable: fields are added, never changed. docs/cli.md describes it. */
function asJson({ files, classes, diagnostics, skipped, leftOut }: LintReport): string {
  const problems = diagnostics.map(({ place, ...diagnostic }) => ({ ...place, ...diagnostic }));
  const counts = {
    files,
    classes,
    errors: count(diagnostics, 'error'),
    hints: count(diagnostics, 'hint'),
    leftOut: leftOut.length,
  };
  return `${printableJson({ version: 1, summary: counts, problems, skipped, leftOut })}\n`;
}

/** Workflow commands of GitHub Actions: they annotate the lines of a pull request. */
function forGitHub(report: LintReport): string {
  const commands = report.diagnostics.map(({ place, severity, code, message, remedy, ...spc }) => {
    const kind = severity === 'error' ? 'error' : 'notice';
    const title = ['keyferry', code, fullName(spc)]
      .filter((part) => part !== undefined && part !== '')
      .join(' ');
    const properties = {
      file: place.file,
      line: String(place.line),
      col: String(place.column),
      title,
    };
    const list = Object.entries(properties).map(
      ([key, value]) => `${key}=${escapeProperty(value)}`,
    );
    return `::${kind} ${list.join(',')}::${escapeData(remedy === undefined ? message : `${message}\n${remedy}`)}\n`;
  });
  return `${commands.join('')}${summary(report)}\n`;
}

function escapeData(text: string): string {
  const lines = text.split('\n').map(escapeUnprintable).join('\n');
  return lines.replaceAll('%', '%25').replaceAll('\n', '%0A');
}

function escapeProperty(text: string): string {
  return escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}

function summary({ files, classes, diagnostics, skipped, leftOut }: LintReport): string {
  const total =
    classes + leftOut.length === 0
      ? `no SecretProviderClass in ${plural(files, 'file')}`
      : `${plural(classes, 'class', 'classes')} in ${plural(files, 'file')}`;
  const counts = [
    plural(count(diagnostics, 'error'), 'error'),
    plural(count(diagnostics, 'hint'), 'hint'),
    ...(skipped.length === 0 ? [] : [`${plural(skipped.length, 'check')} left out`]),
  ];
  const countByReason = new Map<string, number>();
  for (const { reason } of leftOut) countByReason.set(reason, (countByReason.get(reason) ?? 0) + 1);
  const reasons = Array.from(countByReason, ([reason, number]) => `${number} (${reason})`);
  const others = leftOut.length === 0 ? '' : `; left out: ${reasons.join(', ')}`;
  return `${total}: ${counts.join(', ')}${others}`;
}

function count(diagnostics: readonly Diagnostic[], severity: Diagnostic['severity']): number {
  return diagnostics.filter((diagnostic) => diagnostic.severity === severity).length;
}

function plural(number: number, singular: string, pluralForm = `${singular}s`): string {
  return `${number} ${number === 1 ? singular : pluralForm}`;
}
