import type { Plan, SecretRef } from '../../src/core/plan.ts';

/**
 * A class of `provider: alibabacloud` that reads the same name in two accounts, each with its own
 * role, which the pod's RRSA identity assumes.
 */
export type AlibabaLogin = { readonly method: 'pod-rrsa'; readonly audience: string };

const staging = 'acs:ram::1111111111111111:role/reader';
const production = 'acs:ram::2222222222222222:role/reader';
const database = (role: string): SecretRef => ({
  service: 'kms',
  name: 'eu/prod/db',
  region: 'cn-hangzhou',
  stage: 'ACSCurrent',
  role,
});

export const stagingDatabase = database(staging);
export const productionDatabase = database(production);
/** An OOS parameter of the pod's own account: no role. */
export const banner: SecretRef = { service: 'oos', name: 'banner', region: 'cn-hangzhou' };

export const alibabaTwoRoles: Plan<AlibabaLogin> = {
  refs: [stagingDatabase, productionDatabase, banner],
  files: [
    {
      path: 'staging.json',
      sources: { value: { ref: stagingDatabase, selector: { kind: 'whole' } } },
      encoding: 'utf-8',
    },
    {
      path: 'eu_prod_db',
      sources: { value: { ref: productionDatabase, selector: { kind: 'whole' } } },
      encoding: 'utf-8',
    },
    {
      path: 'db-user',
      sources: {
        value: {
          ref: productionDatabase,
          selector: { kind: 'jmespath', expression: 'users[0].name' },
        },
      },
      encoding: 'utf-8',
    },
    {
      path: 'db-pass',
      sources: {
        value: {
          ref: productionDatabase,
          selector: { kind: 'jmespath', expression: '"pass-word"' },
        },
      },
      encoding: 'utf-8',
    },
    {
      path: 'banner',
      sources: { value: { ref: banner, selector: { kind: 'whole' } } },
      encoding: 'utf-8',
      optional: true,
    },
  ],
  login: { method: 'pod-rrsa', audience: 'sts.aliyuncs.com' },
};
