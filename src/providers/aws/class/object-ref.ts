import type { SecretRef } from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { YamlMap } from '../../../formats/yaml-objects.ts';
import {
  type PositionedText,
  type ReportAt,
  readOptionalText,
  readRequiredText,
} from '../../shared/class/files.ts';
import { type ClassNames, reportUnknownKeys } from '../../shared/class/unknown-names.ts';
import {
  type AwsService,
  type ProblemReporters,
  type Selection,
  type Target,
  readSelection,
  readTarget,
  readType,
} from './target.ts';

/** What {@link readRef} needs besides the object. */
export type RefContext = ProblemReporters & {
  readonly names: ClassNames;
  /**
   * Of the class, else of the node. Undefined in offline lint, and where every object is an ARN.
   */
  readonly region: string | undefined;
  readonly failoverRegion: string | undefined;
};

const failoverKeys = ['objectName', 'objectVersion', 'objectVersionLabel'];

/** What an object selects in its own region. Its fallback depends on it. */
type Primary = {
  readonly map: YamlMap;
  readonly name: PositionedText | undefined;
  readonly type: AwsService | undefined;
  readonly target: Target;
  readonly selection: Selection;
};

/**
 * Reads which secret an object selects, and its fallback where the class has a failoverRegion. The
 * ref of an object with errors can have an empty name.
 */
export function readRef(
  map: YamlMap,
  name: PositionedText | undefined,
  context: RefContext,
): SecretRef {
  const { region, reportError } = context;
  const type = readType(map, reportError);
  const emptyTarget: Target = { service: type ?? 'secretsmanager', name: '' };
  const target = (name && readTarget(name, map, { type, region }, reportError)) ?? emptyTarget;
  const selection = readSelection(map, target.service, context);
  const fallback = readFallback({ map, name, type, target, selection }, context);
  return { ...target, ...selection, ...(fallback && { fallbacks: [fallback] }) };
}

/** The same secret in the failoverRegion, or the one that failoverObject selects. */
function readFallback(primary: Primary, context: RefContext): SecretRef | undefined {
  const { map, name, target, selection } = primary;
  const { region, failoverRegion, reportError, warn } = context;
  const object = map.map('failoverObject');
  if (failoverRegion === undefined) {
    if (object !== undefined)
      reportError(
        object.position,
        `${map.where} has a failoverObject, but the class has no failoverRegion`,
        'add the parameter failoverRegion',
      );
    return undefined;
  }
  if (object !== undefined) return readFailoverObject(object, primary, context);
  if (name === undefined) return undefined;
  if (!name.text.startsWith('arn:')) return { ...target, region: failoverRegion, ...selection };
  if (region === undefined && target.region === failoverRegion)
    reportError(name, `objectName of ${map.where} is an ARN of the failoverRegion itself`);
  else if (!map.has('failoverObject'))
    warn(
      name,
      `objectName of ${map.where} is an ARN, which lies in one region: it has no fallback in ${failoverRegion}`,
      'add a failoverObject with its objectName there',
    );
  return undefined;
}

function readFailoverObject(
  object: YamlMap,
  primary: Primary,
  context: RefContext,
): SecretRef | undefined {
  const { map, type, target, selection } = primary;
  const { failoverRegion: region, reportError } = context;
  const needsAlias = readOptionalText(map, 'objectAlias') === undefined;
  const hasAliasInside = needsAlias && object.has('objectAlias');
  const names = { ...context.names, parameters: ['failoverRegion'] };
  reportUnknownKeys(
    object,
    hasAliasInside ? [...failoverKeys, 'objectAlias'] : failoverKeys,
    names,
  );
  if (hasAliasInside)
    reportError(
      object.position,
      `the objectAlias of ${map.where} is inside its failoverObject`,
      'write it beside failoverObject: the file has one name for both regions',
    );
  else if (needsAlias)
    reportError(
      object.position,
      `${map.where} has a failoverObject, but no objectAlias`,
      'its file needs one name for both regions',
    );
  checkSameVersion(object, map, reportError);
  const ownSelection = readSelection(object, target.service, context);
  const name = readRequiredText(
    object,
    'objectName',
    'objectName is the name in the failoverRegion',
    reportError,
  );
  const fallback = name && readTarget(name, object, { type, region }, reportError);
  if (name === undefined || fallback === undefined) return undefined;
  if (type === undefined && fallback.service !== target.service)
    reportError(
      name,
      `objectName of ${object.where} belongs to ${fallback.service}, that of ${map.where} to ${target.service}`,
    );
  // A failoverObject without a label has the primary's selection.
  return {
    ...fallback,
    ...(readOptionalText(object, 'objectVersionLabel') === undefined ? selection : ownSelection),
  };
}

/** Reports different versions: a fallback with another version would have another value. */
function checkSameVersion(object: YamlMap, map: YamlMap, reportError: ReportAt): void {
  const version = readOptionalText(object, 'objectVersion');
  const primary = readOptionalText(map, 'objectVersion');
  if (version?.text === primary?.text) return;
  const textOf = (given: PositionedText | undefined): string =>
    given === undefined ? 'none' : sanitizeUserText(given.text);
  reportError(
    version ?? object.position,
    `objectVersion of ${map.where} is ${textOf(primary)}, that of its failoverObject ${textOf(version)}`,
    'give both the same, or neither one; labels may differ',
  );
}
