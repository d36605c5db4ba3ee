import type { SecretRef } from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { YamlMap } from '../../../formats/yaml-objects.ts';
import { type PositionedText, type ReportAt, readOptionalText } from '../../shared/class/files.ts';
import { arnHint, parseArn } from '../arn.ts';

/** The services that Keyferry reads, by their names in ARNs and refs. */
export type AwsService = 'secretsmanager' | 'ssm';

/** Where errors and warnings of an object go. */
export type ProblemReporters = { readonly reportError: ReportAt; readonly warn: ReportAt };

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
  reporters: ProblemReporters,
): Selection {
  return service === 'ssm'
    ? parameterSelection(map, reporters.reportError)
    : secretSelection(map, reporters);
}

function secretSelection(map: YamlMap, { reportError, warn }: ProblemReporters): Selection {
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
  const selection = parseParameterSelector(text);
  if (selection === undefined)
    reportError(
      given,
      `${map.where} selects neither a version nor a label of a parameter: ${sanitizeUserText(text)}`,
      'a version is a number from 1, a label has letters, digits and "_.-"',
    );
  return selection ?? { stage: text };
}

/**
 * The version or the label that follows the name of a parameter. Undefined for any other text.
 * https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-labels.html
 */
export function parseParameterSelector(text: string): Selection | undefined {
  if (/^[1-9]\d{0,17}$/.test(text)) return { version: text };
  return /^[A-Za-z_.-][\w.-]{0,99}$/.test(text) ? { stage: text } : undefined;
}

const types: Readonly<Record<string, AwsService>> = {
  secretsmanager: 'secretsmanager',
  ssmparameter: 'ssm',
};
const typesHint = 'write objectType: "secretsmanager" or "ssmparameter"';

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
      `objectType of ${map.where} is not known: ${sanitizeUserText(type.text)}`,
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
  const arn = parseArn(text);
  if (arn === undefined) {
    reportError(
      name,
      `${subject} is not an ARN of a secret or a parameter: ${sanitizeUserText(text)}`,
      arnHint(text),
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

export function parameterNameProblem(text: string): NameProblem | undefined {
  if (parameterName.test(text)) return undefined;
  return {
    message: `is not a valid parameter name: ${sanitizeUserText(text)}`,
    hint: 'names have letters, digits and "_./-"; a version goes into objectVersion, a label into objectVersionLabel',
  };
}

export function secretNameProblem(text: string): NameProblem | undefined {
  if (/^\P{C}{1,512}$/u.test(text)) return undefined;
  return { message: 'has control characters, or is longer than 512 characters' };
}
