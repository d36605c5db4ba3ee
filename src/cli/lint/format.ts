import { escapeUnprintable } from '../../core/safe-text.ts';
import { printableJson } from '../printable-json.ts';
import type { Finding } from './finding.ts';

/** What lint found in all its input. */
export type LintReport = {
  readonly files: number;
  readonly classes: number;
  /** In the order of the input. */
  readonly findings: readonly Finding[];
  /** Checks left out because they need a cluster or a node. */
  readonly skipped: readonly { readonly file: string; readonly class: string; readonly check: string }[];
};

/** Who is to read the report. */
export const lintFormats = ['text', 'json', 'github'] as const;

/** See {@link lintFormats}. */
export type LintFormat = (typeof lintFormats)[number];

/** The report, escaped for its reader: names and messages hold text of whoever wrote the class. */
export function formatLint(report: LintReport, format: LintFormat): string {
  return { text: forTerminal, json: asJson, github: forGitHub }[format](report);
}

function forTerminal(report: LintReport): string {
  const findings = report.findings.map(({ place, severity, class: name, message, remedy, code }) => {
    const subject = name === undefined || name === '' ? '' : `class ${name}: `;
    const advice = remedy === undefined ? [] : [`    ${remedy}`];
    const label = code === undefined ? '' : ` [${code}]`;
    return [
      `${place.file}:${place.line}:${place.column}: ${severity}: ${subject}${message}${label}`,
      ...advice,
    ];
  });
  const skipped = report.skipped.map(
    ({ file, class: name, check }) => `${file}: class ${name}: not checked here: ${check}`,
  );
  return [...findings.flat(), ...skipped, summary(report)]
    .map((line) => `${escapeUnprintable(line)}\n`)
    .join('');
}

/** Stable: fields are added, never changed; docs/cli.md describes it. */
function asJson({ files, classes, findings, skipped }: LintReport): string {
  const problems = findings.map(({ place, ...finding }) => ({ ...place, ...finding }));
  const counts = { files, classes, errors: count(findings, 'error'), hints: count(findings, 'hint') };
  return `${printableJson({ version: 1, summary: counts, problems, skipped })}\n`;
}

/** Workflow commands of GitHub Actions, which show findings beside the lines of a pull request. */
function forGitHub(report: LintReport): string {
  const commands = report.findings.map(({ place, severity, code, class: name, message, remedy }) => {
    const kind = severity === 'error' ? 'error' : 'notice';
    const title = ['keyferry', code, name].filter((part) => part !== undefined && part !== '').join(' ');
    const properties = { file: place.file, line: String(place.line), col: String(place.column), title };
    const list = Object.entries(properties).map(([key, value]) => `${key}=${escapeProperty(value)}`);
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

function summary({ files, classes, findings, skipped }: LintReport): string {
  const found = [plural(count(findings, 'error'), 'error'), plural(count(findings, 'hint'), 'hint')];
  const left = skipped.length === 0 ? '' : `, ${plural(skipped.length, 'check')} left out`;
  if (classes === 0) return `no SecretProviderClass in ${plural(files, 'file')}: ${found.join(', ')}`;
  return `${plural(classes, 'class', 'classes')} in ${plural(files, 'file')}: ${found.join(', ')}${left}`;
}

function count(findings: readonly Finding[], severity: Finding['severity']): number {
  return findings.filter((finding) => finding.severity === severity).length;
}

function plural(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}
