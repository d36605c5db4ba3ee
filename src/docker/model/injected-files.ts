import { sanitizeUserText } from '../../core/safe-text.ts';
import { checkFilePath, findPathClash } from '../../formats/file-path.ts';
import { formatReference } from './reference.ts';
import type { InjectedFile, SecretRequest, ReportInService } from './types.ts';
import { filesDirectory } from './volumes.ts';

/**
 * The file of a request. Its path is that of the secret, and `.field` if it is a field. The name of
 * a store comes first if dso.yaml names one: stores can have equal paths.
 */
export function toFile({ name, ref, inject }: SecretRequest): readonly InjectedFile[] {
  if (inject.type !== 'file') return [];
  const { mode, uid, gid } = inject;
  const store = ref.provider === undefined ? '' : `${ref.provider}/`;
  const base = inject.path ?? `${store}${ref.path}`;
  const path = ref.field === undefined ? base : `${base}.${ref.field}`;
  return [{ path, ref, mode, uid, gid, ...(name !== undefined && { variable: name }) }];
}

const otherPath = 'give one of them another path: inject.path of the secret in dso.yaml';

/** Reports paths that are not valid, and files that cannot exist beside each other. */
export function checkFiles(files: readonly InjectedFile[], report: ReportInService): void {
  const refs = new Map<string, string>();
  for (const { path, ref, variable } of files) {
    const key = variable === undefined ? ['environment'] : ['environment', variable];
    const text = formatReference({ kind: 'file', ref });
    const fault = checkFilePath(path);
    const shown = `the file ${filesDirectory}/${sanitizeUserText(path)}`;
    if (fault !== undefined) report('error', 'CANNOT_INJECT', key, `${shown} ${fault}`, otherPath);
    else if ((refs.get(path) ?? text) !== text)
      report('error', 'CANNOT_INJECT', key, `${shown} is two different secrets`, otherPath);
    else refs.set(path, text);
  }
  const [parent, child] = findPathClash(refs.keys()) ?? [];
  if (parent !== undefined && child !== undefined)
    report(
      ...(['error', 'CANNOT_INJECT', ['environment']] as const),
      `the file ${filesDirectory}/${sanitizeUserText(child)} would lie below ${sanitizeUserText(parent)}, a file itself`,
      otherPath,
    );
}
