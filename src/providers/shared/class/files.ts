import type { Encoding, FileRequest, Problem, SecretRef, Selector } from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { checkFilePath, findPathClash } from '../../../formats/file-path.ts';
import { checkExpression, checkReadsDocument, rootHint } from '../../../formats/jmespath.ts';
import type { Yaml11Reader, YamlMap, YamlScalar } from '../../../formats/yaml-objects.ts';
import type { TranslatePath } from './parameters.ts';
import { type ClassNames, reportUnknownKeys } from './unknown-names.ts';

export type Position = { readonly line: number; readonly column: number };

/** A text and its position in the YAML. */
export type PositionedText = Position & { readonly text: string };

/** Reports an error at a position, with the line of the first of two things that clash. */
export type ReportAt = (at: Position, message: string, hint?: string, firstLine?: number) => void;

/** A file, and the position of its name. */
export type PositionedFile = { readonly at: Position; readonly request: FileRequest };

/** Checks the driver's rules: each path is clean, no two are equal, and none lies below another. */
export function checkFileNames(
  files: readonly PositionedFile[],
  reportError: ReportAt,
  hint = 'give it another name with objectAlias',
): void {
  const positionByPath = new Map<string, Position>();
  for (const { at, request } of files) {
    const { path } = request;
    const problem = checkFilePath(path);
    if (problem !== undefined)
      reportError(at, `the file name ${sanitizeUserText(path)} ${problem}`, hint);
    const first = positionByPath.get(path);
    if (first === undefined) positionByPath.set(path, at);
    else reportError(at, `the file name ${sanitizeUserText(path)} occurs twice`, hint, first.line);
  }
  const [parent = '', child = ''] = findPathClash(positionByPath.keys()) ?? [];
  const at = positionByPath.get(child);
  if (at !== undefined)
    reportError(
      at,
      `the file ${sanitizeUserText(child)} would lie below ${sanitizeUserText(parent)}, a file itself`,
      hint,
    );
}

/** Makes the function that reports problems of one severity. Default code: INVALID_CLASS. */
export type ProblemReporter = (severity: Problem['severity'], code?: Problem['code']) => ReportAt;

/** Reports problems with the name of the parameter and the position in it. */
export function createProblemReporter(
  parameter: string,
  report: (problem: Problem) => void,
): ProblemReporter {
  return (severity, code = 'INVALID_CLASS') =>
    ({ line, column }, message, hint, firstLine) =>
      report({
        ...{ severity, code, message, parameter, line, column },
        ...(hint !== undefined && { hint }),
        ...(firstLine !== undefined && { firstLine }),
      });
}

/** The options of a file in every provider's YAML. */
export type FileOptions = Pick<FileRequest, 'mode'> & { readonly encoding: Encoding };

/** Returns the permission bits of a scalar. Undefined if it is not a file mode. */
export type ReadMode = (scalar: YamlScalar) => number | undefined;

/** The keys of {@link readFileOptions}. */
export const fileOptionKeys = ['encoding', 'filePermission'] as const;

/**
 * Reads `encoding` (`utf-8`, `base64` or `hex`, in any letter case: the encoding of the secret's
 * text) and `filePermission` (`"0640"`).
 * @param defaults for keys that are missing
 * @param readMode reads a mode as the provider's users write it; default: octal digits
 */
export function readFileOptions(
  map: YamlMap,
  parameter: string,
  report: (problem: Problem) => void,
  defaults: FileOptions = { encoding: 'utf-8' },
  readMode: ReadMode = ({ text }) => parseOctalMode(text),
): FileOptions {
  const reportErrorAt = createProblemReporter(parameter, report)('error');
  const reportError = (key: string, message: string, hint: string): void =>
    reportErrorAt(map.scalar(key) ?? map.position, `${key} of ${map.where} ${message}`, hint);
  let { encoding, mode } = defaults;

  const encodingText = map.scalar('encoding')?.text.toLowerCase() ?? '';
  if (isEncoding(encodingText)) encoding = encodingText;
  else if (encodingText !== '') reportError('encoding', 'is not known', 'use utf-8, base64 or hex');

  const permission = map.scalar('filePermission');
  if (permission !== undefined && permission.text !== '') {
    mode = readMode(permission);
    if (mode === undefined)
      reportError(
        'filePermission',
        'is not an octal file mode',
        'write it like "0640": owner, group, others',
      );
  }

  return { encoding, ...(mode !== undefined && { mode }) };
}

/** Parses `0640`, `640` or `0o640`. Undefined for any other text. */
export function parseOctalMode(text: string): number | undefined {
  return /^(0o?)?[0-7]{3}$/.test(text) ? parseInt(text.slice(-3), 8) : undefined;
}

function isEncoding(text: string): text is Encoding {
  return ['utf-8', 'base64', 'hex'].includes(text);
}

/** Reads a scalar that must not be empty. Reports an error if it is missing or empty. */
export function readRequiredText(
  map: YamlMap,
  key: string,
  hint: string,
  reportError: ReportAt,
): PositionedText | undefined {
  const scalar = map.scalar(key);
  // `map.scalar` reports a value that is not a scalar.
  const isMissing = scalar === undefined ? !map.has(key) : scalar.text === '';
  if (isMissing) reportError(map.position, `${map.where} has no ${key}`, hint);
  return isMissing ? undefined : toPositionedText(scalar);
}

/** Reads a scalar. An empty one counts as missing, as in the vendors' own providers. */
export function readOptionalText(map: YamlMap, key: string): PositionedText | undefined {
  const scalar = map.scalar(key);
  return scalar?.text === '' ? undefined : toPositionedText(scalar);
}

function toPositionedText(scalar: PositionedText | undefined): PositionedText | undefined {
  return scalar && { text: scalar.text, line: scalar.line, column: scalar.column };
}

/** The reader of a vendor whose provider parses YAML 1.1. @param subject words for hints */
export function yaml11Reader(subject: string): Yaml11Reader {
  const keys = ['objectName', 'objectAlias', 'objectVersion', 'objectVersionLabel', 'path'];
  return { subject, keys };
}

const entryKeys = ['path', 'objectAlias', ...fileOptionKeys];

/** The names of an object, where it has valid ones. */
export type ObjectNames = {
  readonly name?: PositionedText | undefined;
  readonly alias?: PositionedText | undefined;
};

/** What {@link readJmesPathFiles} needs. */
export type ReadFilesContext = {
  readonly names: ClassNames;
  /** The name of the parameter, in the letter case of the class. */
  readonly parameter: string;
  readonly report: (problem: Problem) => void;
  readonly reportError: ReportAt;
  /** Default: a name or an alias is the path. */
  readonly translatePath?: TranslatePath;
  /**
   * What an entry of `jmesPath` extracts. Default `jmespath`: an expression. With
   * `key-or-jmespath`, a secret with extracted values becomes a file itself only if it has an
   * alias.
   */
  readonly pathKind?: 'jmespath' | 'key-or-jmespath';
};

/**
 * Makes the files of an object: one of the whole secret, and one for each entry of `jmesPath`. A
 * file has the name of its alias, else of the object or the entry.
 */
export function readJmesPathFiles(
  map: YamlMap,
  { name, alias }: ObjectNames,
  ref: SecretRef,
  context: ReadFilesContext,
): PositionedFile[] {
  const {
    names,
    parameter,
    report,
    translatePath = (path: string) => path,
    pathKind = 'jmespath',
  } = context;
  const options = readFileOptions(map, parameter, report);
  const optional = map.boolean('optional') === true && { optional: true };
  const file = (
    { text, ...at }: PositionedText,
    selector: Selector,
    fileOptions = options,
  ): PositionedFile => ({
    at,
    request: {
      path: translatePath(text),
      sources: { value: { ref, selector } },
      ...fileOptions,
      ...optional,
    },
  });
  const entries = map.list('jmesPath') ?? [];
  const extractedFiles = entries.flatMap((entry) => {
    reportUnknownKeys(entry, entryKeys, names);
    const fileOptions = readFileOptions(entry, parameter, report, options);
    const extracted = readEntryPath(entry, pathKind, context);
    if (extracted === undefined) return [];
    const { path, selector } = extracted;
    return [file(readOptionalText(entry, 'objectAlias') ?? path, selector, fileOptions)];
  });
  const isWholeByAlias = pathKind === 'key-or-jmespath' && entries.length > 0;
  const wholeSecretPath = isWholeByAlias ? alias : (alias ?? name);
  return wholeSecretPath === undefined
    ? extractedFiles
    : [file(wholeSecretPath, { kind: 'whole' }), ...extractedFiles];
}

function readEntryPath(
  entry: YamlMap,
  pathKind: 'jmespath' | 'key-or-jmespath',
  context: ReadFilesContext,
): { readonly path: PositionedText; readonly selector: Selector } | undefined {
  const { reportError } = context;
  const hint =
    pathKind === 'jmespath'
      ? 'path is a JMESPath expression'
      : 'path is a key of the secret, or JMESPath';
  const path = readRequiredText(entry, 'path', hint, reportError);
  if (path === undefined) return undefined;
  const { text } = path;
  warnOfConstant(path, entry, context);
  // An expression that is not valid can be a key.
  if (pathKind === 'key-or-jmespath') return { path, selector: { kind: pathKind, text } };
  const problem = checkExpression(text);
  if (problem !== undefined)
    reportError(
      path,
      `path of ${entry.where}: ${sanitizeUserText(text)} ${problem}`,
      rootHint(text),
    );
  return { path, selector: { kind: pathKind, expression: text } };
}

/** With `'user'` for `user`, the file holds a word of the class, and the mount succeeds. */
function warnOfConstant(
  path: PositionedText,
  { where }: YamlMap,
  { parameter, report }: ReadFilesContext,
): void {
  const constant = checkReadsDocument(path.text);
  if (constant === undefined) return;
  const { suggestion } = constant;
  createProblemReporter(parameter, report)('warning')(
    path,
    `path of ${where}: ${sanitizeUserText(path.text)} does not look at the secret, so the file has the expression's own words`,
    suggestion === undefined
      ? 'name a key of the secret'
      : `a key has no single quotes: write ${sanitizeUserText(suggestion)}`,
  );
}
