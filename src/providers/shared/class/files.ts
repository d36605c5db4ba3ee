import type { Encoding, FileRequest, Problem, SecretRef, Selector } from '../../../core/plan.ts';
import { quoteForeign } from '../../../core/safe-text.ts';
import { checkFilePath, findPathClash } from '../../../formats/file-path.ts';
import { checkExpression } from '../../../formats/jmespath.ts';
import type { YamlMap, YamlScalar } from '../../../formats/yaml-objects.ts';
import type { TranslatePath } from './parameters.ts';

export type Position = { readonly line: number; readonly column: number };

/** A text and where it stands. */
export type Text = Position & { readonly text: string };

/** Takes down an error. */
export type Refuse = (at: Position, message: string, hint?: string) => void;

/** A file, and where its name stands. */
export type NamedFile = { readonly at: Position; readonly request: FileRequest };

/** The driver's rules: clean paths, all different, none another's directory. */
export function checkFileNames(
  files: readonly NamedFile[],
  refuse: Refuse,
  hint = 'give it another name with objectAlias',
): void {
  const places = new Map<string, Position>();
  for (const { at, request } of files) {
    const { path } = request;
    const fault = checkFilePath(path);
    if (fault !== undefined) refuse(at, `the file name ${quoteForeign(path)} ${fault}`, hint);
    const first = places.get(path);
    if (first === undefined) places.set(path, at);
    else refuse(at, `the file name ${quoteForeign(path)} is that of line ${first.line} too`, hint);
  }
  const [parent = '', child = ''] = findPathClash(places.keys()) ?? [];
  const at = places.get(child);
  if (at !== undefined)
    refuse(
      at,
      `the file ${quoteForeign(child)} would lie below ${quoteForeign(parent)}, a file itself`,
      hint,
    );
}

/** Takes down problems of one kind. Default of the code: INVALID_CLASS. */
export type Say = (severity: Problem['severity'], code?: Problem['code']) => Refuse;

/** For problems of what stands in a parameter, each with its place. */
export function sayIn(parameter: string, report: (problem: Problem) => void): Say {
  return (severity, code = 'INVALID_CLASS') =>
    ({ line, column }, message, hint) =>
      report({
        ...{ severity, code, message, parameter, line, column },
        ...(hint !== undefined && { hint }),
      });
}

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

/** A scalar that has to say something; what is missing is reported. */
export function required(map: YamlMap, key: string, hint: string, refuse: Refuse): Text | undefined {
  const scalar = map.scalar(key);
  // One of the wrong shape has been reported as such.
  const isMissing = scalar === undefined ? !map.has(key) : scalar.text === '';
  if (isMissing) refuse(map.position, `${map.where} has no ${key}`, hint);
  return isMissing ? undefined : pick(scalar);
}

/** A scalar that says something: an empty one is as good as none, as it is for the vendors' providers. */
export function filled(map: YamlMap, key: string): Text | undefined {
  const scalar = map.scalar(key);
  return scalar?.text === '' ? undefined : pick(scalar);
}

function pick(scalar: Text | undefined): Text | undefined {
  return scalar && { text: scalar.text, line: scalar.line, column: scalar.column };
}

const entryKeys = ['path', 'objectAlias', ...fileOptionKeys];

/** What is needed to read which files an object is to become. */
export type FilesReader = {
  /** The parameter's name, as it is written. */
  readonly parameter: string;
  readonly report: (problem: Problem) => void;
  readonly translate: TranslatePath;
  readonly refuse: Refuse;
};

/** The whole secret, and a file for each expression of `jmesPath` beside it, as in AWS's provider and Alibaba Cloud's. */
export function readJmesPathFiles(
  map: YamlMap,
  name: Text | undefined,
  ref: SecretRef,
  { parameter, report, translate, refuse }: FilesReader,
): NamedFile[] {
  const options = readFileOptions(map, parameter, report);
  const optional = map.boolean('optional') === true && { optional: true };
  const file = ({ text, ...at }: Text, selector: Selector, own = options): NamedFile => ({
    at,
    request: { path: translate(text), sources: { value: { ref, selector } }, ...own, ...optional },
  });
  const extracted = (map.list('jmesPath') ?? []).flatMap((entry) => {
    entry.warnUnknown(entryKeys);
    const own = readFileOptions(entry, parameter, report, options);
    const path = required(entry, 'path', 'path is a JMESPath expression', refuse);
    if (path === undefined) return [];
    const wrong = checkExpression(path.text);
    if (wrong !== undefined) refuse(path, `path of ${entry.where}: ${quoteForeign(path.text)} ${wrong}`);
    return [file(filled(entry, 'objectAlias') ?? path, { kind: 'jmespath', expression: path.text }, own)];
  });
  const whole = filled(map, 'objectAlias') ?? name;
  return whole === undefined ? extracted : [file(whole, { kind: 'whole' }), ...extracted];
}
