import * as z from 'zod';
import { SecretError } from '../../errors/secret-error.ts';
import type { SecretValue } from '../provider.ts';
import { readBody } from '../../http/answer.ts';
import type { Api } from './api.ts';
import type { Endpoint } from './endpoints.ts';
import { answerOf, type Asker } from './question.ts';

/** Which version of which secret, and by whose rights. */
export type KmsQuestion = Asker & {
  /** A name, or a whole ARN: another account's secret needs that. */
  readonly name: string;
  readonly versionId?: string;
  /** `ACSCurrent`, ... */
  readonly stage?: string;
  readonly endpoint: Endpoint;
};

const secretValue = z.object({
  SecretName: z.string().nullish(),
  SecretData: z.string(),
  SecretDataType: z.enum(['text', 'binary']),
  VersionId: z.string().regex(/^[\x21-\x7e]{1,256}$/),
  SecretType: z.string().nullish(),
});

/**
 * GetSecretValue of KMS, 2016-01-20. A pin is sent alone: KMS looks for ACSCurrent by itself where neither version nor stage is given, and
 * refuses the two where they name different versions. (BatchGetSecretValue is left out: a right of its own that nobody's policies grant, one
 * credential and endpoint for all, and ten calls a second with a burst of many more leave it little to gain.)
 * @throws SecretError; its message names no secret
 */
export async function getSecretValue(api: Api, question: KmsQuestion): Promise<SecretValue> {
  const { name, versionId, stage, endpoint } = question;
  const answer = await answerOf(api, question, {
    ...{ service: 'KMS', permission: 'kms:GetSecretValue, and kms:Decrypt for the key' },
    ...{ endpoint: endpoint.url, ...(endpoint.tls !== undefined && { tls: endpoint.tls }) },
    action: 'GetSecretValue',
    version: '2016-01-20',
    query: {
      SecretName: name,
      ...(versionId !== undefined && { VersionId: versionId }),
      ...(stage !== undefined && { VersionStage: stage }),
    },
  });
  const shown = readBody(answer, secretValue, 'KMS');
  if (typeof shown.SecretName === 'string' && !isSame(shown.SecretName, name))
    throw invalid('another secret than the one it was asked for');
  if (versionId !== undefined && shown.VersionId !== versionId && !isManaged(shown.SecretType))
    throw invalid('another version than the one it was asked for');
  return {
    bytes: decode(shown.SecretDataType, shown.SecretData),
    version: shown.VersionId,
    // A managed secret ignores the pin and answers with what is current: the pin is the user's word that nothing is to change.
    ...(versionId !== undefined && { immutable: true }),
  };
}

/** Rds, Redis, PolarDB, RAMCredentials, ECS, ... */
function isManaged(secretType: string | null | undefined): boolean {
  return typeof secretType === 'string' && secretType !== 'Generic';
}

/** Asked by ARN, KMS may answer with the name alone. */
function isSame(shown: string, asked: string): boolean {
  return shown === asked || asked.endsWith(`:secret/${shown}`);
}

function decode(type: 'text' | 'binary', data: string): Uint8Array {
  if (type === 'text') {
    if (!data.isWellFormed()) throw invalid('a text that is not Unicode');
    return Buffer.from(data);
  }
  const bytes = Buffer.from(data, 'base64');
  if (bytes.toString('base64') !== data) throw invalid('a binary secret that is not base64');
  return bytes;
}

function invalid(what: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `KMS answered with ${what}`);
}
