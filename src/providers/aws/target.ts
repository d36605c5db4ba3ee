import { quoteForeign } from '../../errors/status-text.ts';
import type { YamlMap } from '../../plan/yaml-list.ts';
import type { Refuse, Text } from '../file-names.ts';
import { filled } from '../object-fields.ts';
import { readArn, type AwsService } from './arn.ts';
import type { Target } from './ref-reader.ts';

const types: Readonly<Record<string, AwsService>> = { secretsmanager: 'secretsmanager', ssmparameter: 'ssm' };
const typesHint = 'write objectType: "secretsmanager" or "ssmparameter"';
const arnsHint =
  'write arn:aws:secretsmanager:<region>:<account>:secret:<name>, or arn:aws:ssm:<region>:<account>:parameter/<name>';

/**
 * Parameters have these characters; secrets, which SSM hands out below that path, others too. One name that SSM does not take fails the
 * nine others of its call.
 */
const parameterName = /^([\w./-]{1,2048}|\/aws\/reference\/secretsmanager\/[^:\s]{1,2000})$/;

/** The service that `objectType` says; none where it is not given. */
export function readType(map: YamlMap, refuse: Refuse): AwsService | undefined {
  const type = filled(map, 'objectType');
  if (type === undefined) return undefined;
  const service = types[type.text.toLowerCase()];
  if (service === undefined)
    refuse(type, `objectType of ${map.where} is not known: ${quoteForeign(type.text)}`, typesHint);
  return service ?? 'secretsmanager';
}

/** A name, or an ARN that fits the type, where it is given, and the region, where it is known. Nothing where it cannot be read. */
export function readTarget(
  name: Text,
  { where }: YamlMap,
  wanted: { readonly type: AwsService | undefined; readonly region: string | undefined },
  refuse: Refuse,
): Target | undefined {
  const { type, region } = wanted;
  const what = `objectName of ${where}`;
  const { text } = name;
  if (!text.startsWith('arn:')) {
    const fault = type === 'ssm' ? parameterFault(text) : secretFault(text);
    if (type === undefined)
      refuse(name, `${where} has no objectType`, `${typesHint}; only an ARN says it by itself`);
    else if (fault !== undefined) refuse(name, `${what} ${fault.is}`, fault.hint);
    return { service: type ?? 'secretsmanager', name: text, ...(region !== undefined && { region }) };
  }
  const arn = readArn(text);
  if (arn === undefined) {
    refuse(name, `${what} is no ARN of a secret or a parameter: ${quoteForeign(text)}`, arnsHint);
    return undefined;
  }
  if (type !== undefined && type !== arn.service)
    refuse(
      name,
      `${what} is an ARN of ${arn.service}, but objectType says otherwise`,
      'an ARN needs no objectType',
    );
  if (region !== undefined && region !== arn.region)
    refuse(
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
    is: `is no name of a parameter: ${quoteForeign(text)}`,
    hint: 'names have letters, digits and "_./-"; a version goes into objectVersion, a label into objectVersionLabel',
  };
}

function secretFault(text: string): Fault | undefined {
  if (/^\P{C}{1,512}$/u.test(text)) return undefined;
  return { is: 'has control characters, or is longer than 512 characters' };
}
