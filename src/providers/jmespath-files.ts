import { quoteForeign } from '../errors/status-text.ts';
import { checkExpression } from '../plan/jmespath.ts';
import type { Problem, SecretRef, Selector } from '../plan/plan.ts';
import type { YamlMap } from '../plan/yaml-list.ts';
import type { NamedFile, Refuse, Text } from './file-names.ts';
import { fileOptionKeys, readFileOptions } from './file-options.ts';
import { filled, required } from './object-fields.ts';
import type { TranslatePath } from './path-translation.ts';

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
