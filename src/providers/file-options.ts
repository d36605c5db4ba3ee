import type { Encoding, FileRequest, Problem } from '../plan/plan.ts';
import type { YamlMap, YamlScalar } from '../plan/yaml-list.ts';
import { sayIn } from './say.ts';

/** What a user may say of a file, in every provider's YAML. */
export type FileOptions = Pick<FileRequest, 'mode'> & { readonly encoding: Encoding };

/** Permission bits that a scalar stands for; `undefined` where it is no file mode. */
export type ReadMode = (scalar: YamlScalar) => number | undefined;

/** The keys of {@link readFileOptions}. */
export const fileOptionKeys = ['encoding', 'filePermission'] as const;

/**
 * `encoding` (`utf-8`, `base64` or `hex`, in any letter case: what the text is decoded from) and `filePermission` (`"0640"`), or what
 * `inherited` says where they are not given.
 * @param readMode how the provider's users write a mode; default octal digits
 */
export function readFileOptions(
  map: YamlMap,
  parameter: string,
  report: (problem: Problem) => void,
  inherited: FileOptions = { encoding: 'utf-8' },
  readMode: ReadMode = ({ text }) => readOctalMode(text),
): FileOptions {
  const say = sayIn(parameter, report)('error');
  const refuse = (key: string, message: string, hint: string): void =>
    say(map.scalar(key) ?? map.position, `${key} of ${map.where} ${message}`, hint);
  let { encoding, mode } = inherited;

  const encodingText = map.scalar('encoding')?.text.toLowerCase() ?? '';
  if (isEncoding(encodingText)) encoding = encodingText;
  else if (encodingText !== '') refuse('encoding', 'is not known', 'use utf-8, base64 or hex');

  const permission = map.scalar('filePermission');
  if (permission !== undefined && permission.text !== '') {
    mode = readMode(permission);
    if (mode === undefined)
      refuse('filePermission', 'is not an octal file mode', 'write it like "0640": owner, group, others');
  }

  return { encoding, ...(mode !== undefined && { mode }) };
}

/** `0640`, `640` or `0o640`. */
export function readOctalMode(text: string): number | undefined {
  return /^(0o?)?[0-7]{3}$/.test(text) ? parseInt(text.slice(-3), 8) : undefined;
}

function isEncoding(text: string): text is Encoding {
  return ['utf-8', 'base64', 'hex'].includes(text);
}
