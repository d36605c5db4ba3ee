import { quoteForeign } from '../../errors/status-text.ts';
import type { SecretRef } from '../../plan/plan.ts';
import type { YamlMap } from '../../plan/yaml-list.ts';
import type { Refuse, Text } from '../file-names.ts';
import { filled, required } from '../object-fields.ts';
import type { AwsService } from './arn.ts';
import type { RefReader, Selection, Target } from './ref-reader.ts';
import { readSelection } from './selection.ts';
import { readTarget, readType } from './target.ts';

const failoverKeys = ['objectName', 'objectVersion', 'objectVersionLabel'];

/** What an object asks in its own region, for its fallback. */
type Primary = {
  readonly map: YamlMap;
  readonly name: Text | undefined;
  readonly type: AwsService | undefined;
  readonly target: Target;
  readonly selection: Selection;
};

/** What an object asks for, with its fallback where the class has a failoverRegion. A name that was faulty is empty. */
export function readRef(map: YamlMap, name: Text | undefined, reader: RefReader): SecretRef {
  const { region, refuse } = reader;
  const type = readType(map, refuse);
  const none: Target = { service: type ?? 'secretsmanager', name: '' };
  const target = (name && readTarget(name, map, { type, region }, refuse)) ?? none;
  const selection = readSelection(map, target.service, reader);
  const fallback = readFallback({ map, name, type, target, selection }, reader);
  return { ...target, ...selection, ...(fallback && { fallbacks: [fallback] }) };
}

/** The same secret in the failoverRegion, or the one that failoverObject says. */
function readFallback(primary: Primary, reader: RefReader): SecretRef | undefined {
  const { map, name, target, selection } = primary;
  const { region, failoverRegion, refuse, warn } = reader;
  const object = map.map('failoverObject');
  if (failoverRegion === undefined) {
    if (object !== undefined)
      refuse(
        object.position,
        `${map.where} has a failoverObject, but the class has no failoverRegion`,
        'add the parameter failoverRegion',
      );
    return undefined;
  }
  if (object !== undefined) return readFailoverObject(object, primary, reader);
  if (name === undefined) return undefined;
  if (!name.text.startsWith('arn:')) return { ...target, region: failoverRegion, ...selection };
  if (region === undefined && target.region === failoverRegion)
    refuse(name, `objectName of ${map.where} is an ARN of the failoverRegion itself`);
  else
    warn(
      name,
      `objectName of ${map.where} is an ARN, which lies in one region: it has no fallback in ${failoverRegion}`,
      'add a failoverObject with its objectName there',
    );
  return undefined;
}

function readFailoverObject(object: YamlMap, primary: Primary, reader: RefReader): SecretRef | undefined {
  const { map, type, target, selection } = primary;
  const { failoverRegion: region, refuse } = reader;
  object.warnUnknown(failoverKeys);
  if (filled(map, 'objectAlias') === undefined)
    refuse(
      object.position,
      `${map.where} has a failoverObject, but no objectAlias`,
      'its file needs one name for both regions',
    );
  checkVersions(object, map, refuse);
  const own = readSelection(object, target.service, reader);
  const name = required(object, 'objectName', 'objectName is the name in the failoverRegion', refuse);
  const fallback = name && readTarget(name, object, { type, region }, refuse);
  if (name === undefined || fallback === undefined) return undefined;
  if (type === undefined && fallback.service !== target.service)
    refuse(
      name,
      `objectName of ${object.where} is of ${fallback.service}, that of ${map.where} of ${target.service}`,
    );
  // Without a label of its own it has the primary's.
  return { ...fallback, ...(filled(object, 'objectVersionLabel') === undefined ? selection : own) };
}

/** A fallback with another version would be another secret. */
function checkVersions(object: YamlMap, map: YamlMap, refuse: Refuse): void {
  const version = filled(object, 'objectVersion');
  const primary = filled(map, 'objectVersion');
  if (version?.text === primary?.text) return;
  const told = (given: Text | undefined): string => (given === undefined ? 'none' : quoteForeign(given.text));
  refuse(
    version ?? object.position,
    `objectVersion of ${map.where} is ${told(primary)}, that of its failoverObject ${told(version)}`,
    'give both the same, or neither one; labels may differ',
  );
}
