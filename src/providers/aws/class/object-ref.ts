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

/** The ARN of an IAM role: `arn:aws:iam::111122223333:role/team/app`. */
export const roleArnPattern = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,576}$/;

/** The services that Keyferry reads, by their names in ARNs and refs. */
export type AwsService = 'secretsmanager' | 'ssm';

/** Parses the ARN of a secret or a parameter. Undefined for any other text. */
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

/** What {@link readRef} needs besides the object. */
export type RefContext = {
  /**
   * Of the class, else of the node. Undefined in offline lint, and where every object is an ARN.
   */
  readonly region: string | undefined;
  readonly failoverRegion: string | undefined;
  readonly reportError: ReportAt;
  readonly warn: ReportAt;
};

/** A secret in one region, without its version. */
export type Target = {
  readonly service: AwsService;
  readonly name: string;
  readonly region?: string;
};

/** The version or the stage of a secret. */
export type Selection = Pick<SecretRef, 'version' | 'stage'>;

/** Reads `objectVersion` and `objectVersionLabel` of an object or of its failoverObject. */
export function readSelection(
  map: YamlMap,
  service: AwsService,
  context: Pick<RefContext, 'reportError' | 'warn'>,
): Selection {
  return service === 'ssm'
    ? parameterSelection(map, context.reportError)
    : secretSelection(map, context);
}

function secretSelection(
  map: YamlMap,
  { reportError, warn }: Pick<RefContext, 'reportError' | 'warn'>,
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
  // AWS's default, too. So an object that names this label has the same ref as one that does not.
  const stage = label?.text ?? (version === undefined ? 'AWSCURRENT' : undefined);
  return { ...(version && { version: version.text }), ...(stage !== undefined && { stage }) };
}

/** SSM accepts `name:3` for a version and `name:prod` for a label. So both keys accept both. */
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
      `${map.where} selects neither a version nor a label of a parameter: ${sanitizeExternalText(text)}`,
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
 * The characters of a parameter's name. Below `/aws/reference/secretsmanager/` SSM gives out
 * secrets, whose names have other characters too. A name that SSM rejects fails the whole call,
 * with the names of up to nine other parameters.
 */
const parameterName = /^([\w./-]{1,2048}|\/aws\/reference\/secretsmanager\/[^:\s]{1,2000})$/;

/** Reads `objectType`. Undefined where it is missing. */
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

/**
 * Reads a name or an ARN. An ARN must match the type and the region that are given.
 * @returns undefined for an invalid ARN
 */
export function readTarget(
  name: PositionedText,
  { where }: YamlMap,
  expected: { readonly type: AwsService | undefined; readonly region: string | undefined },
  reportError: ReportAt,
): Target | undefined {
  const { type, region } = expected;
  const subject = `objectName of ${where}`;
  const { text } = name;
  if (!text.startsWith('arn:')) {
    const problem = type === 'ssm' ? parameterNameProblem(text) : secretNameProblem(text);
    if (type === undefined)
      reportError(
        name,
        `${where} has no objectType`,
        `${typesHint}; only an ARN needs no objectType`,
      );
    else if (problem !== undefined)
      reportError(name, `${subject} ${problem.message}`, problem.hint);
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
      `${subject} is no ARN of a secret or a parameter: ${sanitizeExternalText(text)}`,
      arnsHint,
    );
    return undefined;
  }
  if (type !== undefined && type !== arn.service)
    reportError(
      name,
      `${subject} is an ARN of ${arn.service}, but objectType names another service`,
      'an ARN needs no objectType',
    );
  if (region !== undefined && region !== arn.region)
    reportError(
      name,
      `${subject} is an ARN of ${arn.region}, but is to be read in ${region}`,
      'name the region of the ARN',
    );
  return { ...arn, name: text };
}

type NameProblem = { readonly message: string; readonly hint?: string };

function parameterNameProblem(text: string): NameProblem | undefined {
  if (parameterName.test(text)) return undefined;
  return {
    message: `is no name of a parameter: ${sanitizeExternalText(text)}`,
    hint: 'names have letters, digits and "_./-"; a version goes into objectVersion, a label into objectVersionLabel',
  };
}

function secretNameProblem(text: string): NameProblem | undefined {
  if (/^\P{C}{1,512}$/u.test(text)) return undefined;
  return { message: 'has control characters, or is longer than 512 characters' };
}

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
  context: RefContext,
): SecretRef | undefined {
  const { map, type, target, selection } = primary;
  const { failoverRegion: region, reportError } = context;
  object.warnUnknown(failoverKeys);
  if (readOptionalText(map, 'objectAlias') === undefined)
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
    given === undefined ? 'none' : sanitizeExternalText(given.text);
  reportError(
    version ?? object.position,
    `objectVersion of ${map.where} is ${textOf(primary)}, that of its failoverObject ${textOf(version)}`,
    'give both the same, or neither one; labels may differ',
  );
}
