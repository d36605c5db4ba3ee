import { SecretError } from '../../../core/errors.ts';
import type { SecretRef } from '../../../core/plan.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { YamlMap } from '../../../formats/yaml-objects.ts';
import {
  type PositionedText,
  readOptionalText,
  createProblemReporter,
} from '../../shared/class/files.ts';
import { isRegion } from '../../shared/class/parameters.ts';
import { kmsEndpoint } from '../endpoints.ts';
import type { Reader } from '../types.ts';

/** A RAM role: `acs:ram::1234567890:role/reader`. */
export const roleArnShape = /^acs:ram::\d{1,32}:role\/[A-Za-z0-9._-]{1,64}$/;

/** An OIDC provider of RAM: `acs:ram::1234567890:oidc-provider/ack-rrsa-c0123`. */
export const oidcProviderArnShape = /^acs:ram::\d{1,32}:oidc-provider\/[A-Za-z0-9._-]{1,128}$/;

/** Where the secret of an ARN lies, or `undefined` for what is no ARN of a KMS secret. */
export function readArn(
  text: string,
): { readonly region: string; readonly account: string } | undefined {
  const [, region = '', account = ''] =
    /^acs:kms:([^:]*):(\d{1,32}):secret\/[^:\s]+$/.exec(text) ?? [];
  return isRegion(region) ? { region, account } : undefined;
}

/** What an object asks the store. `typeBelow`: its type, where that stands in the next item. A name that was faulty is empty. */
export function readRef(
  map: YamlMap,
  name: PositionedText | undefined,
  typeBelow: PositionedText | undefined,
  reader: Reader,
): SecretRef {
  const service = readService(typeBelow ?? readOptionalText(map, 'objectType'), map, reader);
  const arn = name && readName(name, map, service, reader);
  const role = readRole(map, reader);
  const own = service === 'kms' ? readKmsFields(map, reader) : readOosFields(map, reader);
  const region = arn?.region ?? regionFor(reader);
  return {
    service,
    name: name?.text ?? '',
    ...(region !== undefined && { region }),
    ...own,
    ...(role !== undefined && { role }),
  };
}

function readService(
  type: PositionedText | undefined,
  map: YamlMap,
  { reportError }: Reader,
): 'kms' | 'oos' {
  const service = type?.text.toLowerCase() ?? 'kms';
  if (service === 'kms' || service === 'oos') return service;
  reportError(
    type ?? map.position,
    `objectType of ${map.where} is not known: ${sanitizeExternalText(type?.text ?? '')}`,
    'use kms or oos',
  );
  return 'kms';
}

function readName(
  name: PositionedText,
  map: YamlMap,
  service: 'kms' | 'oos',
  { reportError }: Reader,
): { readonly region: string } | undefined {
  if (!/^\P{C}{1,512}$/u.test(name.text)) {
    reportError(
      name,
      `objectName of ${map.where} has control characters, or is longer than 512 characters`,
    );
    return undefined;
  }
  if (!name.text.startsWith('acs:')) return undefined;
  const arn = readArn(name.text);
  if (arn === undefined)
    reportError(
      name,
      `objectName of ${map.where} is no ARN of a KMS secret: ${sanitizeExternalText(name.text)}`,
      'write acs:kms:<region>:<account id>:secret/<name>',
    );
  else if (service !== 'kms')
    reportError(
      name,
      `objectName of ${map.where} is the ARN of a KMS secret, but its objectType is ${service}`,
    );
  return arn;
}

/** With facts it is there wherever it is needed: see facts.ts. */
function regionFor({ region, facts, skip }: Reader): string | undefined {
  if (region === undefined && facts === undefined)
    skip('the region, which the class leaves to the node');
  return region;
}

function readKmsFields(
  map: YamlMap,
  reader: Reader,
): Pick<SecretRef, 'endpoint' | 'version' | 'stage'> {
  const version = readOptionalText(map, 'objectVersion');
  const label = readOptionalText(map, 'objectVersionLabel');
  if (version !== undefined && label !== undefined)
    reader.warn(
      label,
      `${map.where} has both objectVersion and objectVersionLabel: once the label moves to another version, KMS refuses them`,
      'keep one of them',
    );
  // KMS takes the label by default, too: so an object that names it asks the same as one that does not.
  const stage = label?.text ?? (version === undefined ? 'ACSCurrent' : undefined);
  const endpoint = readEndpoint(map, reader);
  return {
    ...(endpoint !== undefined && { endpoint }),
    ...(version !== undefined && { version: version.text }),
    ...(stage !== undefined && { stage }),
  };
}

function readEndpoint(
  map: YamlMap,
  { facts, skip, report, parameter }: Reader,
): string | undefined {
  const text = readOptionalText(map, 'kmsEndpoint');
  if (text === undefined) return undefined;
  try {
    const { url } = kmsEndpoint(text.text, {
      allowedEndpoints: facts?.allowedEndpoints ?? [],
      gatewayCa: [],
    });
    return url.protocol === 'https:' ? url.host : url.origin;
  } catch (error) {
    if (!(error instanceof SecretError)) throw error;
    const { code, message, hint } = error;
    if (facts === undefined && code !== 'INVALID_CLASS')
      skip("a kmsEndpoint that is not Alibaba Cloud's, which the operator has to allow");
    else
      createProblemReporter(parameter, report)('error', code)(
        text,
        `kmsEndpoint of ${map.where}: ${message}`,
        hint,
      );
    return undefined;
  }
}

function readOosFields(map: YamlMap, { reportError, warn }: Reader): Pick<SecretRef, 'version'> {
  for (const key of ['objectVersionLabel', 'kmsEndpoint']) {
    const text = readOptionalText(map, key);
    if (text !== undefined) warn(text, `${key} of ${map.where} means nothing to OOS`, 'remove it');
  }
  const version = readOptionalText(map, 'objectVersion');
  if (version === undefined) return {};
  if (!/^([1-9][0-9]?|100)$/.test(version.text))
    reportError(
      version,
      `objectVersion of ${map.where} is no version of an OOS parameter: ${sanitizeExternalText(version.text)}`,
      'versions are the numbers 1 to 100',
    );
  return { version: version.text };
}

function readRole(map: YamlMap, { reportError }: Reader): string | undefined {
  const role = readOptionalText(map, 'crossAccountRoleArn');
  if (role !== undefined && !roleArnShape.test(role.text))
    reportError(
      role,
      `crossAccountRoleArn of ${map.where} is no ARN of a RAM role: ${sanitizeExternalText(role.text)}`,
      'write acs:ram::<account id>:role/<name>',
    );
  return role?.text;
}
