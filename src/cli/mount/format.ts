import { isUtf8 } from 'node:buffer';
import { escapeUnprintable } from '../../core/safe-text.ts';
import type { Volume } from '../../mount/types.ts';
import type { SecretProviderClass } from '../lint/class-object.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { Styler } from '../../formats/terminal-style.ts';
import type { Requester } from './request.ts';

/** The output formats. */
export const mountFormats = ['text', 'json'] as const;

/** The result of one mount. */
export type MountReport = {
  readonly spc: Pick<SecretProviderClass, 'name' | 'provider'>;
  /** One line each; see `classWarnings`. */
  readonly warnings: readonly string[];
  readonly requester: Requester;
  readonly volume: Volume;
  /** The directory of --out. */
  readonly out?: string | undefined;
  /** Whether to print the values. */
  readonly show: boolean;
};

/** Formats the result, without values unless `show` is set. Only the format `text` is styled. */
export function formatMount(
  report: MountReport,
  format: (typeof mountFormats)[number],
  style: Styler,
): string {
  return format === 'json' ? `${printableJson(toJsonObject(report))}\n` : toText(report, style);
}

/** The text before the result. */
export function formatWarnings(warnings: readonly string[]): string {
  return warnings.map((line) => `${escapeUnprintable(line)}\n`).join('');
}

function toJsonObject({ spc, warnings, requester, volume, out, show }: MountReport): object {
  const { namespace, pod, serviceAccount } = requester;
  const files = volume.files.map(({ path, mode, contents }) => ({
    ...{ path, size: contents.length, mode: octal(mode) },
    ...(show && { contents: encodeForDisplay(contents) }),
  }));
  return {
    ...{
      class: spc.name,
      provider: spc.provider,
      namespace,
      pod,
      serviceAccount,
      files,
      versions: volume.versions,
    },
    ...(warnings.length > 0 && { warnings }),
    ...(out !== undefined && { out }),
  };
}

function toText({ spc, requester, volume, out, show }: MountReport, style: Styler): string {
  const title =
    `class ${spc.name}, provider ${spc.provider}, ` +
    `for pod ${requester.namespace}/${requester.pod} with service account ${requester.serviceAccount}`;
  const [header = '', ...rows] = volumeTable(volume).map(escapeUnprintable);
  const lines = [escapeUnprintable(title), '', style('bold', header), ...rows];
  if (out !== undefined) lines.push('', escapeUnprintable(`written to ${out}`));
  const values = show ? volume.files.map((file) => `\n${valueText(file, style)}`) : [];
  return [...lines.map((line) => `${line}\n`), ...values].join('');
}

/** Files with their sizes in bytes, modes and versions, then versions without a file. */
export function volumeTable({ files, versions }: Volume): string[] {
  const versionOf = new Map(versions.map(({ id, version }) => [id, version]));
  const paths = new Set(files.map(({ path }) => path));
  const rows = [
    ['FILE', 'BYTES', 'MODE', 'VERSION'],
    ...files.map((file) => [
      file.path,
      `${file.contents.length}`,
      octal(file.mode),
      versionOf.get(file.path) ?? '-',
    ]),
    ...versions
      .filter(({ id }) => !paths.has(id))
      .map(({ id, version }) => [id, '-', '-', version]),
  ];
  const widths = [0, 1, 2].map((column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
}

function valueText({ path, contents }: Volume['files'][number], style: Styler): string {
  const { encoding, data } = encodeForDisplay(contents);
  const note = encoding === 'base64' ? ' (in base64)' : '';
  const value = data === '' || data.endsWith('\n') ? data : `${data}\n`;
  return `${style('bold', `--- ${escapeUnprintable(path)}${note}`)}\n${value}`;
}

/** Text if it is printable. Control characters and bytes that are not UTF-8 are shown in base64. */
function encodeForDisplay(contents: Uint8Array): { encoding: 'utf-8' | 'base64'; data: string } {
  const text = Buffer.from(contents).toString();
  const printable =
    isUtf8(contents) && text.split(/[\n\t]/).every((part) => escapeUnprintable(part) === part);
  if (printable) return { encoding: 'utf-8', data: text };
  return { encoding: 'base64', data: Buffer.from(contents).toString('base64') };
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}
