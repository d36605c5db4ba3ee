import { type FileRequest, type SecretRef, refKey } from '../../../core/plan.ts';
import type { Steps } from '../../../core/steps.ts';
import { type YamlMap, readYamlList } from '../../../formats/yaml-objects.ts';
import {
  type PositionedFile,
  type PositionedText,
  type ReportAt,
  checkFileNames,
  createProblemReporter,
  fileOptionKeys,
  readJmesPathFiles,
  readOptionalText,
  readRequiredText,
  yaml11Reader,
} from '../../shared/class/files.ts';
import { reportUnknownKeys } from '../../shared/class/unknown-names.ts';
import { type ClassContext, readRef } from './object-ref.ts';

/** The keys of an object. */
export const objectKeys = [
  'objectName',
  'objectAlias',
  'objectType',
  'objectVersion',
  'objectVersionLabel',
  'kmsEndpoint',
  'crossAccountRoleArn',
  'jmesPath',
  'optional',
  ...fileOptionKeys,
];

const yaml11 = yaml11Reader("Alibaba Cloud's provider reads");

/** An object of the list. */
type ObjectItem = {
  readonly map: YamlMap;
  /** The object's type, if it is in an item of its own. */
  typeFromNextItem?: PositionedText | undefined;
};

/**
 * Reads the parameter `objects`: which secrets to read, and which files to make of them.
 * @param text YAML in the form of the vendor's provider
 */
export function* readObjects(
  text: string,
  context: ClassContext,
): Steps<{ readonly refs: readonly SecretRef[]; readonly files: readonly FileRequest[] }> {
  const { parameter, report } = context;
  const reporterOf = createProblemReporter(parameter, report);
  const reportError = reporterOf('error');
  const objectContext = { ...context, reportError, warn: reporterOf('warning') };
  const maps = yield* readYamlList(text, { parameter, report, keys: 'any-case', yaml11 });
  // Several objects can name one secret, for different files. They share one ref.
  const refByKey = new Map<string, SecretRef>();
  const files: PositionedFile[] = [];
  for (const { map, typeFromNextItem } of joinItems(maps, {
    ...context,
    hint: reporterOf('hint'),
  })) {
    yield 'held';
    reportUnknownKeys(map, objectKeys, context.names);
    const hint = 'objectName is the name of the secret';
    const name = readRequiredText(map, 'objectName', hint, reportError);
    const ownRef = readRef(map, name, typeFromNextItem, objectContext);
    const ref = refByKey.get(refKey(ownRef)) ?? ownRef;
    refByKey.set(refKey(ref), ref);
    const alias = readOptionalText(map, 'objectAlias');
    files.push(...readJmesPathFiles(map, { name, alias }, ref, objectContext));
  }
  checkFileNames(files, reportError);
  return { refs: [...refByKey.values()], files: files.map(({ request }) => request) };
}

/**
 * Joins an item that has an `objectType` alone with the item before it. The vendor's guide prints
 * `- objectName: "test"` and `- objectType: "kms"` as two items, but means one.
 */
function joinItems(
  maps: readonly YamlMap[],
  { names, hint }: Pick<ClassContext, 'names'> & { readonly hint: ReportAt },
): readonly ObjectItem[] {
  const items: ObjectItem[] = [];
  for (const map of maps) {
    const previous = items.at(-1);
    const completesPrevious =
      isTypeAlone(map) &&
      previous?.map.index === map.index - 1 &&
      previous.map.has('objectName') &&
      !previous.map.has('objectType') &&
      previous.typeFromNextItem === undefined;
    if (!completesPrevious) {
      items.push({ map });
      continue;
    }
    reportUnknownKeys(map, objectKeys, names);
    previous.typeFromNextItem = map.scalar('objectType');
    hint(
      map.position,
      `${map.where} has an objectType alone; it is used for ${previous.map.where}`,
      'write both without the second "-"',
    );
  }
  return items;
}

function isTypeAlone(map: YamlMap): boolean {
  return map.has('objectType') && objectKeys.every((key) => key === 'objectType' || !map.has(key));
}
