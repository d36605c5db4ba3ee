import { escapeUnprintable } from '../../core/safe-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { Backup } from '../migrate/backup.ts';
import { maskEnvFile, maskYaml } from '../migrate/mask.ts';
import { type NewSecret, referenceTo } from '../migrate/name-secrets.ts';
import type { PreparedMigration } from '../migrate/prepare.ts';
import type { ChangedFile } from '../migrate/plan.ts';
import { unifiedDiff } from '../migrate/unified-diff.ts';
import { formatTable } from './output.ts';

/** What `docker dso migrate` shows. Nothing of it has a value. */
export type MigrationReport = Pick<PreparedMigration, 'plan' | 'target' | 'notes'> & {
  /** The commands of a store that this program does not write to. */
  readonly commands: readonly string[];
  /** The store is one of the user, and not of the host. */
  readonly isOfUser: boolean;
  /** Absent: nothing was written. */
  readonly backup?: Backup;
};

/** Keys of dso.yaml whose values are no secrets. */
const openKeys = new Set(['name', 'type', 'path', 'polling_interval', 'mode', 'cache', 'provider']);

function diffOf({ file, edits }: ChangedFile): string {
  const mask = (text: string): readonly string[] =>
    file.kind === 'env'
      ? maskEnvFile(text)
      : maskYaml(text, file.kind === 'dso.yaml' ? openKeys : undefined);
  return unifiedDiff(file.name, file.text, edits, mask);
}

/** For a terminal. */
export function reportAsText(report: MigrationReport): string {
  const { plan, target, notes, commands, backup, isOfUser } = report;
  const lines: string[] = [];
  const paragraph = (...texts: readonly string[]): void => void lines.push(...texts, '');
  if (plan.files.length === 0) paragraph('There is nothing to move.');
  if (plan.secrets.length > 0)
    paragraph(
      formatTable([
        ['REFERENCE', 'VARIABLES'],
        ...plan.secrets.map((secret) => [
          escapeUnprintable(referenceOf(secret, target)),
          escapeUnprintable(usesOf(secret).join(', ')),
        ]),
      ]).trimEnd(),
    );
  for (const file of plan.files) paragraph(diffOf(file).trimEnd());
  if (plan.left.length > 0)
    paragraph(
      'These stay as they are:',
      ...plan.left.map(({ what, reason }) => `  ${escapeUnprintable(`${what}: ${reason}`)}`),
    );
  for (const note of notes) paragraph(`note: ${escapeUnprintable(note)}`);
  if (commands.length > 0)
    paragraph(
      backup === undefined
        ? 'With --apply the values are in files for these commands, which put them into the store:'
        : 'The store does not have the values yet. Run this before the next docker dso up:',
      ...commands.map((command) => `  ${escapeUnprintable(command)}`),
    );
  if (backup !== undefined)
    paragraph(
      `backup   ${escapeUnprintable(backup.directory)}, with the old values: remove it when all is well`,
      `restore  ${escapeUnprintable(backup.restore)}`,
      `next     docker dso lint, then docker dso ${isOfUser ? '--mode local ' : ''}up -d`,
      'The history of git, old containers and copies still have the values: change them in the store.',
    );
  else if (plan.files.length > 0)
    paragraph('Nothing was written. To write it, run the same command with --apply.');
  return lines.join('\n');
}

/** For programs. */
export function reportAsJson({ plan, target, notes, commands, backup }: MigrationReport): string {
  return `${printableJson({
    version: 1,
    applied: backup !== undefined,
    provider: target.type,
    secrets: plan.secrets.map((secret) => ({
      name: secret.name,
      reference: referenceOf(secret, target),
      variables: secret.uses.map(({ service, name }) => ({ service, name })),
    })),
    files: plan.files.map((changed) => ({ file: changed.file.name, diff: diffOf(changed) })),
    left: plan.left,
    notes,
    commands,
    ...(backup !== undefined && { backup: backup.directory, restore: backup.restore }),
  })}\n`;
}

function referenceOf(secret: NewSecret, target: MigrationReport['target']): string {
  return referenceTo(secret, secret.uses[0]?.kind ?? 'variable', target);
}

function usesOf({ uses }: NewSecret): readonly string[] {
  return uses.map(({ service, name }) => `${service} ${name}`);
}
