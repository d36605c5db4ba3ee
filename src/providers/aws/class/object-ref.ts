import type { SecretRef } from '../../../core/plan.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { YamlMap } from '../../../formats/yaml-objects.ts';
import {
  type ReportAt,
  type PositionedText,
  readOptionalText,
  readRequiredText,
} from '../../shared/class/files.ts';
import { isRegion } from '../../shared/class/parameters.ts';

/** An IAM role: `arn:aws:iam::111122223333:role/team/app`. */
export const roleArnPattern = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,576}$/;

/** The services whose secrets are mounted, as ARNs and refs name them. */
export type AwsService = 'secretsmanager' | 'ssm';

/** What the ARN of a secret or a parameter says; `undefined` for what is neither. */
export function readArn(
  text: string,
): { readonly service: AwsService; readonly region: string } | undefined {
  const [, service, region = ''] =
    /^arn:aws[a-z-]*:(secretsmanager):([^:]*):\d{12}:secret:[^:\s]+$/.exec(text) ??
    /^arn:aws[a-z-]*:(ssm):([^:]*):\d{12}:parameter\/[^:\s]+$/.exec(text) ??
    [];
  return isRegion(region)
    ? { service: service === 'ssm' ? 'ssm' : 'secretsmanager', region }
    : undefined;
}

/** What is needed to read what an object asks for. */
export type RefReader = {
  /** Of the class, or of the node; none offline, and where ARNs alone say it. */
  readonly region: string | undefined;
  readonly failoverRegion: string | undefined;
  readonly reportError: ReportAt;
  readonly warn: ReportAt;
};

/** A secret in one region. */
export type Target = {
  readonly service: AwsService;
  readonly name: string;
  readonly region?: string;
};

/** Which of its versions. */
export type Selection = Pick<SecretRef, 'version' | 'stage'>;

/** What `objectVersion` and `objectVersionLabel` of an object, or of its failoverObject, select. */
export function readSelection(
  map: YamlMap,
  service: AwsService,
  reader: Pick<RefReader, 'reportError' | 'warn'>,
): Selection {
  return service === 'ssm'
    ? parameterSelection(map, reader.reportError)
    : secretSelection(map, reader);
}

function secretSelection(
  map: YamlMap,
  { reportError, warn }: Pick<RefReader, 'reportError' | 'warn'>,
): Selection {
  const version = readOptionalText(map, 'objectVersion');
  const label = readOptionalText(map, 'objectVersionLabel');
  for (const [key, given] of Object.entries({ objectVersion: version, objectVersionLabel: label }))
    if (given !== undefined && !/^[\x21-\x7e]{1,256}$/.test(given.text))
      reportError(given, `${key} of ${map.where} has spaces or unusual characters, or is too long`);
  if (version !== undefined && label !== undefined)
    warn(
      label,
      `${map.where} has both objectVersion and objectVersionLabel: once the label moves to another version, AWS refuses them`,
      'keep one of them',
    );
  // AWS takes this label by default, too: so an object that names it asks the same as one that does not.
  const stage = label?.text ?? (version === undefined ? 'AWSCURRENT' : undefined);
  return { ...(version && { version: version.text }), ...(stage !== undefined && { stage }) };
}

/** SSM takes `name:3` for a version and `name:prod` for a label, so either stands under either key. */
function parameterSelection(map: YamlMap, reportError: ReportAt): Selection {
  const version = readOptionalText(map, 'objectVersion');
  const label = readOptionalText(map, 'objectVersionLabel');
  if (version !== undefined && label !== undefined)
    reportError(
      label,
      `${map.where} has both objectVersion and objectVersionLabel`,
      'a parameter takes one of them',
    );
  const given: PositionedText | undefined = version ?? label;
  if (given === undefined) return {};
  const { text } = given;
  if (/^[1-9]\d{0,17}$/.test(text)) return { version: text };
  // https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-labels.html
  if (!/^[A-Za-z_.-][\w.-]{0,99}$/.test(text))
    reportError(
      given,
      `${map.where} asks for what is no version or label of a parameter: ${sanitizeExternalText(text)}`,
      'a version is a number from 1, a label has letters, digits and "_.-"',
    );
  return { stage: text };
}

const types: Readonly<Record<string, AwsService>> = {
  secretsmanager: 'secretsmanager',
  ssmparameter: 'ssm',
};
const typesHint = 'write objectType: "secretsmanager" or "ssmparameter"';
const arnsHint =
  'write arn:aws:secretsmanager:<region>:<account>:secret:<name>, or arn:aws:ssm:<region>:<account>:parameter/<name>';

/**
 * Parameters have these characters; secrets, which SSM hands out below that path, others too. One name that SSM does not take fails the
 * nine others of its call.
 */
const parameterName = /^([\w./-]{1,2048}|\/aws\/reference\/secretsmanager\/[^:\s]{1,2000})$/;

/** The service that `objectType` says; none where it is not given. */
export function readType(map: YamlMap, reportError: ReportAt): AwsService | undefined {
  const type = readOptionalText(map, 'objectType');
  if (type === undefined) return undefined;
  const service = types[type.text.toLowerCase()];
  if (service === undefined)
    reportError(
      type,
      `objectType of ${map.where} is not known: ${sanitizeExternalText(type.text)}`,
      typesHint,
    );
  return service ?? 'secretsmanager';
}

/** A name, or an ARN that fits the type, where it is given, and the region, where it is known. Nothing where it cannot be read. */
export function readTarget(
  name: PositionedText,
  { where }: YamlMap,
  wanted: { readonly type: AwsService | undefined; readonly region: string | undefined },
  reportError: ReportAt,
): Target | undefined {
  const { type, region } = wanted;
  const what = `objectName of ${where}`;
  const { text } = name;
  if (!text.startsWith('arn:')) {
    const fault = type === 'ssm' ? parameterFault(text) : secretFault(text);
    if (type === undefined)
      reportError(
        name,
        `${where} has no objectType`,
        `${typesHint}; only an ARN says it by itself`,
      );
    else if (fault !== undefined) reportError(name, `${what} ${fault.is}`, fault.hint);
    return {
      service: type ?? 'secretsmanager',
      name: text,
      ...(region !== undefined && { region }),
    };
  }
  const arn = readArn(text);
  if (arn === undefined) {
    reportError(
      name,
      `${what} is no ARN of a secret or a parameter: ${sanitizeExternalText(text)}`,
      arnsHint,
    );
    return undefined;
  }
  if (type !== undefined && type !== arn.service)
    reportError(
      name,
      `${what} is an ARN of ${arn.service}, but objectType says otherwise`,
      'an ARN needs no objectType',
    );
  if (region !== undefined && region !== arn.region)
    reportError(
      name,
      `${what} is an ARN of ${arn.region}, but is to be read in ${region}`,
      'name the region of the ARN',
    );
  return { ...arn, name: text };
}

type Fault = { readonly is: string; readonly hint?: string };

function parameterFault(text: string): Fault | undefined {
  if (parameterName.test(text)) return undefined;
  return {
    is: `is no name of a parameter: ${sanitizeExternalText(text)}`,
    hint: 'names have letters, digits and "_./-"; a version goes into objectVersion, a label into objectVersionLabel',
  };
}

function secretFault(text: string): Fault | undefined {
  if (/^\P{C}{1,512}$/u.test(text)) return undefined;
  return { is: 'has control characters, or is longer than 512 characters' };
}

const failoverKeys = ['objectName', 'objectVersion', 'objectVersionLabel'];

/** What an object asks in its own region, for its fallback. */
type Primary = {
  readonly map: YamlMap;
  readonly name: PositionedText | undefined;
  readonly type: AwsService | undefined;
  readonly target: Target;
  readonly selection: Selection;
};

/** What an object asks for, with its fallback where the class has a failoverRegion. A name that was faulty is empty. */
export function readRef(
  map: YamlMap,
  name: PositionedText | undefined,
  reader: RefReader,
): SecretRef {
  const { region, reportError } = reader;
  const type = readType(map, reportError);
  const none: Target = { service: type ?? 'secretsmanager', name: '' };
  const target = (name && readTarget(name, map, { type, region }, reportError)) ?? none;
  const selection = readSelection(map, target.service, reader);
  const fallback = readFallback({ map, name, type, target, selection }, reader);
  return { ...target, ...selection, ...(fallback && { fallbacks: [fallback] }) };
}

/** The same secret in the failoverRegion, or the one that failoverObject says. */
function readFallback(primary: Primary, reader: RefReader): SecretRef | undefined {
  const { map, name, target, selection } = primary;
  const { region, failoverRegion, reportError, warn } = reader;
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
  if (object !== undefined) return readFailoverObject(object, primary, reader);
  if (name === undefined) return undefined;
  if (!name.text.startsWith('arn:')) return { ...target, region: failoverRegion, ...selection };
  if (region === undefined && target.region === failoverRegion)
    reportError(name, `objectName of ${map.where} is an ARN of the failoverRegion itself`);
  else
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
  reader: RefReader,
): SecretRef | undefined {
  const { map, type, target, selection } = primary;
  const { failoverRegion: region, reportError } = reader;
  object.warnUnknown(failoverKeys);
  if (readOptionalText(map, 'objectAlias') === undefined)
    reportError(
      object.position,
      `${map.where} has a failoverObject, but no objectAlias`,
      'its file needs one name for both regions',
    );
  checkVersions(object, map, reportError);
  const own = readSelection(object, target.service, reader);
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
      `objectName of ${object.where} is of ${fallback.service}, that of ${map.where} of ${target.service}`,
    );
  // Without a label of its own it has the primary's.
  return {
    ...fallback,
    ...(readOptionalText(object, 'objectVersionLabel') === undefined ? selection : own),
  };
}

/** A fallback with another version would be another secret. */
function checkVersions(object: YamlMap, map: YamlMap, reportError: ReportAt): void {
  const version = readOptionalText(object, 'objectVersion');
  const primary = readOptionalText(map, 'objectVersion');
  if (version?.text === primary?.text) return;
  const told = (given: PositionedText | undefined): string =>
    given === undefined ? 'none' : sanitizeExternalText(given.text);
  reportError(
    version ?? object.position,
    `objectVersion of ${map.where} is ${told(primary)}, that of its failoverObject ${told(version)}`,
    'give both the same, or neither one; labels may differ',
  );
}
