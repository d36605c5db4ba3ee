import { quoteForeign } from '../../errors/status-text.ts';
import { checkExpression } from '../../plan/jmespath.ts';
import { refKey, type FileRequest, type Problem, type SecretRef, type Selector } from '../../plan/plan.ts';
import { readYamlList, type YamlMap } from '../../plan/yaml-list.ts';
import { checkFileNames, type NamedFile, type Refuse, type Text } from '../file-names.ts';
import { fileOptionKeys, readFileOptions } from '../file-options.ts';
import { filled, required } from '../object-fields.ts';
import type { TranslatePath } from '../path-translation.ts';
import { readRef } from './object-ref.ts';
import type { RefReader } from './ref-reader.ts';

const objectKeys = [
  'objectName',
  'objectType',
  'objectAlias',
  'objectVersion',
  'objectVersionLabel',
  'failoverObject',
  'jmesPath',
  'optional',
  ...fileOptionKeys,
];
const jmesPathKeys = ['path', 'objectAlias', ...fileOptionKeys];

/** What stands around the objects of a class. */
export type ObjectsContext = Pick<RefReader, 'region' | 'failoverRegion'> & {
  /** The parameter's name, as it is written. */
  readonly parameter: string;
  readonly report: (problem: Problem) => void;
  readonly translate: TranslatePath;
};

/** The same, with the two ways to report. */
type Reader = ObjectsContext & RefReader;

/** What to read and which files to make of it, by the parameter `objects` as users of AWS's provider write it. */
export function readObjects(
  text: string,
  context: ObjectsContext,
): { readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] } {
  const { parameter, report } = context;
  const say =
    (severity: Problem['severity']): Refuse =>
    ({ line, column }, message, hint) =>
      report({
        ...{ severity, code: 'INVALID_CLASS', message, parameter, line, column },
        ...(hint !== undefined && { hint }),
      });
  const reader = { ...context, refuse: say('error'), warn: say('warning') };
  // One secret may stand there twice, for files of different names; what asks the same is one ref.
  const refs = new Map<string, SecretRef>();
  const files: NamedFile[] = [];
  for (const map of readYamlList(text, { parameter, report, keys: 'any-case' })) {
    map.warnUnknown(objectKeys);
    const name = required(map, 'objectName', 'objectName is the name of the secret', reader.refuse);
    const read = readRef(map, name, reader);
    const key = [read, ...(read.fallbacks ?? [])].map(refKey).join(' ');
    const ref = refs.get(key) ?? read;
    refs.set(key, ref);
    files.push(...readFiles(map, name, ref, reader));
  }
  checkFileNames(files, reader.refuse);
  return { refs: [...refs.values()], files: files.map(({ request }) => request) };
}

/** The whole secret, and a file for each expression beside it. */
function readFiles(map: YamlMap, name: Text | undefined, ref: SecretRef, reader: Reader): NamedFile[] {
  const { parameter, report, translate, refuse } = reader;
  const options = readFileOptions(map, parameter, report);
  const optional = map.boolean('optional') === true && { optional: true };
  const file = ({ text, ...at }: Text, selector: Selector, own = options): NamedFile => ({
    at,
    request: { path: translate(text), sources: { value: { ref, selector } }, ...own, ...optional },
  });
  const extracted = (map.list('jmesPath') ?? []).flatMap((entry) => {
    entry.warnUnknown(jmesPathKeys);
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
