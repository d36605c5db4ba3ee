import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { readBody } from '../../http/response.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { SecretValue } from '../../core/provider.ts';
import type { Api } from './call.ts';
import type { Endpoint } from './endpoints.ts';
import { callStore, type ReadContext } from './call.ts';

const secretParameter = z.object({
  Parameter: z.object({
    Name: z.string().nullish(),
    Value: z.string(),
    ParameterVersion: z.union([z.number().int(), z.string().regex(/^\d{1,10}$/)]).transform(String),
    UpdatedDate: z.string().nullish(),
  }),
});

/**
 * GetSecretParameter of OOS, 2019-06-01, decrypted. Its numbers start again when a parameter is made anew, so the time of its last change goes
 * with them.
 * @throws SecretError; its message names no parameter
 */
export async function getSecretParameter(
  api: Api,
  context: ReadContext,
  endpoint: Endpoint,
  ref: SecretRef,
): Promise<SecretValue> {
  const { name, version, region = '' } = ref;
  const answer = await callStore(api, context, {
    ...{ service: 'OOS', permission: 'oos:GetSecretParameter, and kms:GetSecretValue' },
    endpoint: endpoint.url,
    action: 'GetSecretParameter',
    version: '2019-06-01',
    query: {
      Name: name,
      RegionId: region,
      WithDecryption: 'true',
      ...(version !== undefined && { ParameterVersion: version }),
    },
  });
  const { Parameter: shown } = readBody(answer, secretParameter, 'OOS');
  if (typeof shown.Name === 'string' && shown.Name !== name)
    throw invalid('another parameter than the one it was asked for');
  if (version !== undefined && shown.ParameterVersion !== version)
    throw invalid('another version than the one it was asked for');
  if (!shown.Value.isWellFormed()) throw invalid('a text that is not Unicode');
  return {
    bytes: Buffer.from(shown.Value),
    version: shown.ParameterVersion,
    ...(typeof shown.UpdatedDate === 'string' && { modified: shown.UpdatedDate }),
    ...(version !== undefined && { immutable: true }),
  };
}

function invalid(what: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `OOS answered with ${what}`);
}
