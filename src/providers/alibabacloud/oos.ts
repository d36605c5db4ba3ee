import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { SecretValue } from '../../core/provider.ts';
import { readBody } from '../../http/response.ts';
import { type Api, type ReadContext, callStore } from './call.ts';
import type { Endpoint } from './endpoints.ts';

const parameterResponse = z.object({
  Parameter: z.object({
    Name: z.string().nullish(),
    Value: z.string(),
    ParameterVersion: z.union([z.number().int(), z.string().regex(/^\d{1,10}$/)]).transform(String),
    UpdatedDate: z.string().nullish(),
  }),
});

/**
 * Reads and decrypts a parameter: GetSecretParameter of OOS, API version 2019-06-01. The version
 * numbers of a parameter that was deleted and created again start at 1 again. So the value has the
 * time of the last change, too.
 * @throws SecretError; its message does not contain the parameter's name
 */
export async function getSecretParameter(
  api: Api,
  context: ReadContext,
  endpoint: Endpoint,
  ref: SecretRef,
): Promise<SecretValue> {
  const { name, version, region = '' } = ref;
  const response = await callStore(api, context, {
    ...{ service: 'OOS', permission: 'oos:GetSecretParameter, and kms:GetSecretValue' },
    endpoint: endpoint.url,
    requested: ref,
    action: 'GetSecretParameter',
    version: '2019-06-01',
    query: {
      Name: name,
      RegionId: region,
      WithDecryption: 'true',
      ...(version !== undefined && { ParameterVersion: version }),
    },
  });
  const { Parameter: parameter } = readBody(response, parameterResponse, 'OOS');
  if (typeof parameter.Name === 'string' && parameter.Name !== name)
    throw invalidResponseError('another parameter than the requested one');
  if (version !== undefined && parameter.ParameterVersion !== version)
    throw invalidResponseError('another version than the requested one');
  if (!parameter.Value.isWellFormed()) throw invalidResponseError('a text that is not Unicode');
  return {
    bytes: Buffer.from(parameter.Value),
    version: parameter.ParameterVersion,
    ...(typeof parameter.UpdatedDate === 'string' && { modified: parameter.UpdatedDate }),
    ...(version !== undefined && { immutable: true }),
  };
}

function invalidResponseError(description: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `OOS sent ${description}`);
}
