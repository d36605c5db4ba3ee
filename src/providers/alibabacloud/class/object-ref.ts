import { SecretError } from '../../../core/errors.ts';
import type { SecretRef } from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { YamlMap } from '../../../formats/yaml-objects.ts';
import {
  type PositionedText,
  type ReadFilesContext,
  type ReportAt,
  createProblemReporter,
  readOptionalText,
} from '../../shared/class/files.ts';
import { isRegion } from '../../shared/class/parameters.ts';
import { kmsEndpoint } from '../endpoints.ts';
import type { AlibabaNodeFacts } from '../types.ts';

/** A RAM role: `acs:ram::1234567890:role/reader`. */
export const roleArnShape = /^acs:ram::\d{1,32}:role\/[A-Za-z0-9._-]{1,64}$/;

/** An OIDC provider of RAM: `acs:ram::1234567890:oidc-provider/ack-rrsa-c0123`. */
export const oidcProviderArnShape = /^acs:ram::\d{1,32}:oidc-provider\/[A-Za-z0-9._-]{1,128}$/;

/** What the objects of a class have in common. */
export type ClassContext = Omit<ReadFilesContext, 'reportError'> & {
  /** For objects that name no region. */
  readonly region: string | undefined;
  /** Undefined offline. */
  readonly nodeFacts: AlibabaNodeFacts | undefined;
  /** Records a check that needs the node facts. */
  readonly skip: (check: string) => void;
};

/** The same, with functions that report a problem at its position. */
export type ObjectContext = ClassContext & {
  readonly reportError: ReportAt;
  readonly warn: ReportAt;
};

/**
 * Reads which secret an object names. A name with an error gives an empty one.
 * @param typeFromNextItem the type of the object, if it is in an item of its own
 */
export function readRef(
  map: YamlMap,
  name: PositionedText | undefined,
  typeFromNextItem: PositionedText | undefined,
  context: ObjectContext,
): SecretRef {
  const type = typeFromNextItem ?? readOptionalText(map, 'objectType');
  const service = readService(type, map, context);
  const arn = name && readName(name, map, service, context);
  const role = readRole(map, context);
  const serviceFields =
    service === 'kms' ? readKmsFields(map, context) : readOosFields(map, context);
  const region = arn?.region ?? defaultRegion(context);
  return {
    service,
    name: name?.text ?? '',
    ...(region !== undefined && { region }),
    ...serviceFields,
    ...(role !== undefined && { role }),
  };
}

function readService(
  type: PositionedText | undefined,
  map: YamlMap,
  { reportError }: ObjectContext,
): 'kms' | 'oos' {
  const service = type?.text.toLowerCase() ?? 'kms';
  if (service === 'kms' || service === 'oos') return service;
  reportError(
    type ?? map.position,
    `objectType of ${map.where} is not known: ${sanitizeUserText(type?.text ?? '')}`,
    'use kms or oos',
  );
  return 'kms';
}

/** Undefined if the name is not an ARN. */
function readName(
  name: PositionedText,
  map: YamlMap,
  service: 'kms' | 'oos',
  { reportError }: ObjectContext,
): { readonly region: string } | undefined {
  if (!/^\P{C}{1,512}$/u.test(name.text)) {
    reportError(
      name,
      `objectName of ${map.where} has control characters, or is longer than 512 characters`,
    );
    return undefined;
  }
  if (!name.text.startsWith('acs:')) return undefined;
  const arn = parseSecretArn(name.text);
  if (arn === undefined)
    reportError(
      name,
      `objectName of ${map.where} is not an ARN of a KMS secret: ${sanitizeUserText(name.text)}`,
      'write acs:kms:<region>:<account id>:secret/<name>',
    );
  else if (service !== 'kms')
    reportError(
      name,
      `objectName of ${map.where} is the ARN of a KMS secret, but its objectType is ${service}`,
    );
  return arn;
}

/** Undefined for a text that is not an ARN of a KMS secret. */
export function parseSecretArn(text: string): { readonly region: string } | undefined {
  const [, region = ''] = /^acs:kms:([^:]*):\d{1,32}:secret\/[^:\s]+$/.exec(text) ?? [];
  return isRegion(region) ? { region } : undefined;
}

/** The node facts hold a region if an object needs one: see node-region.ts. */
function defaultRegion({ region, nodeFacts, skip }: ObjectContext): string | undefined {
  if (region === undefined && nodeFacts === undefined)
    skip('the region, which the class leaves to the node');
  return region;
}

function readKmsFields(
  map: YamlMap,
  context: ObjectContext,
): Pick<SecretRef, 'endpoint' | 'version' | 'stage'> {
  const version = readOptionalText(map, 'objectVersion');
  const label = readOptionalText(map, 'objectVersionLabel');
  if (version !== undefined && label !== undefined)
    context.warn(
      label,
      `${map.where} has both objectVersion and objectVersionLabel: once the label moves to another version, KMS refuses them`,
      'keep one of them',
    );
  // ACSCurrent is KMS's default. So objects with and without this label share one ref.
  const stage = label?.text ?? (version === undefined ? 'ACSCurrent' : undefined);
  const endpoint = readKmsEndpoint(map, context);
  return {
    ...(endpoint !== undefined && { endpoint }),
    ...(version !== undefined && { version: version.text }),
    ...(stage !== undefined && { stage }),
  };
}

function readKmsEndpoint(
  map: YamlMap,
  { nodeFacts, skip, report, parameter }: ObjectContext,
): string | undefined {
  const text = readOptionalText(map, 'kmsEndpoint');
  if (text === undefined) return undefined;
  try {
    const { url } = kmsEndpoint(text.text, {
      allowedEndpoints: nodeFacts?.allowedEndpoints ?? [],
      gatewayCa: [],
    });
    return url.protocol === 'https:' ? url.host : url.origin;
  } catch (error) {
    if (!(error instanceof SecretError)) throw error;
    const { code, message, hint } = error;
    if (nodeFacts === undefined && code !== 'INVALID_CLASS')
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

/** The version of a parameter of OOS. */
export const parameterVersionShape = /^([1-9][0-9]?|100)$/;

function readOosFields(
  map: YamlMap,
  { reportError, warn }: ObjectContext,
): Pick<SecretRef, 'version'> {
  for (const key of ['objectVersionLabel', 'kmsEndpoint']) {
    const text = readOptionalText(map, key);
    if (text !== undefined) warn(text, `${key} of ${map.where} has no effect for OOS`, 'remove it');
  }
  const version = readOptionalText(map, 'objectVersion');
  if (version === undefined) return {};
  if (!parameterVersionShape.test(version.text))
    reportError(
      version,
      `objectVersion of ${map.where} is not a version of an OOS parameter: ${sanitizeUserText(version.text)}`,
      'versions are the numbers 1 to 100',
    );
  return { version: version.text };
}

function readRole(map: YamlMap, { reportError }: ObjectContext): string | undefined {
  const role = readOptionalText(map, 'crossAccountRoleArn');
  if (role !== undefined && !roleArnShape.test(role.text))
    reportError(
      role,
      `crossAccountRoleArn of ${map.where} is not an ARN of a RAM role: ${sanitizeUserText(role.text)}`,
      'write acs:ram::<account id>:role/<name>',
    );
  return role?.text;
}
