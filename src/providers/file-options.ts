import type { Encoding, FileRequest, Problem } from '../plan/plan.ts';
import type { YamlMap } from '../plan/yaml-list.ts';

/** What a user may say of a file, in every provider's YAML. */
export type FileOptions = Pick<FileRequest, 'mode'> & { readonly encoding: Encoding };

/** The keys of {@link readFileOptions}. */
export const fileOptionKeys = ['encoding', 'filePermission'] as const;

/**
 * `encoding` (`utf-8`, `base64` or `hex`, in any letter case: what the text is decoded from) and `filePermission` (`"0640"`), or what
 * `inherited` says where they are not given.
 */
export function readFileOptions(
  map: YamlMap,
  parameter: string,
  report: (problem: Problem) => void,
  inherited: FileOptions = { encoding: 'utf-8' },
): FileOptions {
  const refuse = (key: string, message: string, hint: string): void => {
    const { line, column } = map.scalar(key) ?? map.position;
    report({
      severity: 'error',
      code: 'INVALID_CLASS',
      message: `${key} of ${map.where} ${message}`,
      hint,
      parameter,
      line,
      column,
    });
  };
  let { encoding, mode } = inherited;

  const encodingText = map.scalar('encoding')?.text.toLowerCase() ?? '';
  if (isEncoding(encodingText)) encoding = encodingText;
  else if (encodingText !== '') refuse('encoding', 'is not known', 'use utf-8, base64 or hex');

  const permission = map.scalar('filePermission')?.text ?? '';
  if (/^(0o?)?[0-7]{3}$/.test(permission)) mode = parseInt(permission.slice(-3), 8);
  else if (permission !== '')
    refuse('filePermission', 'is not an octal file mode', 'write it like "0640": owner, group, others');

  return { encoding, ...(mode !== undefined && { mode }) };
}

function isEncoding(text: string): text is Encoding {
  return ['utf-8', 'base64', 'hex'].includes(text);
}
