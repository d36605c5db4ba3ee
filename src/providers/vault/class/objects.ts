import {
  type FileRequest,
  type Problem,
  type SecretRef,
  type Selector,
  refKey,
} from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { Steps } from '../../../core/steps.ts';
import { type YamlMap, readYamlList } from '../../../formats/yaml-objects.ts';
import {
  type FileOptions,
  type PositionedFile,
  type ReadMode,
  checkFileNames,
  readOptionalText,
  readFileOptions,
  parseOctalMode,
  readRequiredText,
  createProblemReporter,
} from '../../shared/class/files.ts';
import { reportUnknownKeys } from '../../shared/class/unknown-names.ts';
import type { VaultLogin } from '../types.ts';
import { type ObjectReader, readRef } from './object-ref.ts';
import { classNamesOf, objectKeys } from './parameters.ts';

/** An integer as Go's yaml.v3 reads it. */
const integer = /^(0x[\da-f]+|0b[01]+|0o?[0-7]+|0|[1-9]\d*)$/i;

/**
 * The vendors' providers take a YAML integer, so `0600`, `0o600`, `384` and `0x180` are one mode.
 * They reject a quoted mode; here it has octal digits, as in the classes of all other providers.
 * For them 0 means "not given".
 */
export const readFilePermission: ReadMode = ({ text, quoted }) => {
  if (quoted) return parseOctalMode(text);
  const digits = text.replaceAll('_', '').toLowerCase();
  if (!integer.test(digits)) return undefined;
  const mode = Number(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  return mode <= 0o777 ? mode : undefined;
};

/** Integers that are octal modes without their 0. Others, such as 256 and 420, may be decimal. */
const octalLooks = ['400', '440', '444', '500'];

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

const parameter = 'objects';

/**
 * Reads the parameter `objects` in the format of the vendors' providers: what to read, and the
 * files.
 */
export function* readObjects(
  text: string,
  { dialect, tls }: Pick<VaultLogin, 'dialect' | 'tls'>,
  report: (problem: Problem) => void,
): Steps<{ readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] }> {
  const names = classNamesOf(dialect);
  const reportAt = createProblemReporter(parameter, report);
  const reader = {
    ...{
      reportError: reportAt('error'),
      reportWarning: reportAt('warning'),
      reportHint: reportAt('hint'),
      reportForbidden: reportAt('error', 'NOT_ALLOWED_FROM_CLASS'),
    },
    usesClientCertificate: tls.certFile !== undefined,
  };
  // Equal requests are one ref: all objects of one path come from one response.
  const refs = new Map<string, SecretRef>();
  const files: PositionedFile[] = [];
  // The vendors' parsers leave out an item without content.
  const options = { parameter, report, keys: 'exact', skipEmptyItems: true } as const;
  const maps = yield* readYamlList(text, options);
  for (const map of maps) {
    yield 'held';
    reportUnknownKeys(map, objectKeys, names);
    const name = readRequiredText(
      map,
      'objectName',
      'objectName is the name of the file',
      reader.reportError,
    );
    const parsedRef = readRef(map, reader);
    const ref = refs.get(refKey(parsedRef)) ?? parsedRef;
    refs.set(refKey(ref), ref);
    const selector = readSelector(map);
    const fileOptions = readOptions(map, selector, reader, report);
    const optional = map.boolean('optional') === true && { optional: true };
    if (name === undefined) continue;
    const { text: path, ...at } = name;
    files.push({
      at,
      request: { path, sources: { value: { ref, selector } }, ...fileOptions, ...optional },
    });
  }
  checkFileNames(files, reader.reportError, 'give it another objectName');
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}

/** Selects a key, literally; without one the whole response. */
function readSelector(map: YamlMap): Selector {
  const key = readOptionalText(map, 'secretKey');
  return key === undefined ? { kind: 'whole' } : { kind: 'key', key: key.text };
}

function readOptions(
  map: YamlMap,
  selector: Selector,
  { reportError, reportHint }: ObjectReader,
  report: (problem: Problem) => void,
): FileOptions {
  const permission = map.scalar('filePermission');
  if (permission?.quoted === false && octalLooks.includes(permission.text))
    reportHint(
      permission,
      `filePermission of ${map.where} is ${permission.text}, a decimal number in YAML: the mode ${octal(Number(permission.text))}`,
      `for the mode 0${permission.text} write 0${permission.text}`,
    );
  const { encoding, mode } = readFileOptions(map, parameter, report, undefined, readFilePermission);
  if (selector.kind === 'whole' && encoding !== 'utf-8')
    reportError(
      map.scalar('encoding') ?? map.position,
      `encoding of ${map.where} is ${sanitizeUserText(encoding)}, but without secretKey the file is the whole response, which is JSON`,
      'name the key whose value is encoded in secretKey',
    );
  // The vendors' providers take 0 for "not given".
  return { encoding, ...(mode !== undefined && mode !== 0 && { mode }) };
}
