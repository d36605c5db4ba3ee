import type { FileRequest, Plan, SecretRef } from '../../src/core/plan.ts';

/**
 * A class of `provider: aws`: a secret with another name in the failover region, and 25 parameters.
 * SSM returns at most ten parameters per request. The refs differ only in the name, so that a
 * provider can batch them.
 */
export type AwsLogin = { readonly method: 'irsa'; readonly audience: string };

const fallback: SecretRef = {
  service: 'secretsmanager',
  name: 'prod-db-replica',
  region: 'us-east-1',
  stage: 'AWSCURRENT',
};
export const database: SecretRef = {
  service: 'secretsmanager',
  name: 'prod/db',
  region: 'eu-west-1',
  stage: 'AWSCURRENT',
  fallbacks: [fallback],
};

const numbers = Array.from({ length: 25 }, (_, index) => index + 1);
export const parameters: readonly SecretRef[] = numbers.map((number) => ({
  service: 'ssm',
  name: `/app/p${number}`,
  region: 'eu-west-1',
  // The same name with two versions is two reads.
  ...(number === 25 && { name: '/app/p24', version: '3' }),
  fallbacks: [{ service: 'ssm', name: `/app/p${number}`, region: 'us-east-1' }],
}));

const parameterFiles = parameters.map((ref, index): FileRequest => ({
  path: ref.version === undefined ? `_app_p${index + 1}` : 'p24-v3',
  sources: { value: { ref, selector: { kind: 'whole' } } },
  encoding: 'utf-8',
}));

export const awsFailover: Plan<AwsLogin> = {
  refs: [database, ...parameters],
  files: [
    {
      path: 'db.json',
      sources: { value: { ref: database, selector: { kind: 'whole' } } },
      encoding: 'utf-8',
      mode: 0o400,
    },
    {
      path: 'port',
      sources: {
        value: { ref: database, selector: { kind: 'jmespath', expression: 'endpoint.port' } },
      },
      encoding: 'utf-8',
    },
    ...parameterFiles,
  ],
  login: { method: 'irsa', audience: 'sts.amazonaws.com' },
};
