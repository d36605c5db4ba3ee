import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  appRole as ramRole,
  oidcProvider,
  startAlibabaFixture,
} from '../fakes/alibabacloud-fixture.ts';
import { startAwsCloud } from '../fakes/aws-cloud.ts';
import { appRole as iamRole } from '../fakes/aws-fixture.ts';
import { startCceFixture } from '../fakes/cce-fixture.ts';
import type { TokenVerifier } from '../servers/control-plane/token-verifier.ts';

const subject = 'system:serviceaccount:team-a:app';
/** The role of deploy/examples is called web. */
const exampleSubject = 'system:serviceaccount:shop:web';
/** The agency of Huawei Cloud that trusts the pods of team-a/app. */
const agency = {
  ...{
    urn: 'iam::0123456789:agency:app',
    providerUrn: 'iam::0123456789:oidcProvider:my-cluster',
    subject,
  },
  audience: 'sts.huaweicloud.com',
};

/** The annotations by which the ServiceAccount team-a/app gets an identity from the clouds. */
export const cloudAnnotations = {
  'ack.alibabacloud.com/role-arn': ramRole,
  'eks.amazonaws.com/role-arn': iamRole,
};

/** The parameters by which a class is served under the own identity of the pod. */
export const podIdentityParameters = {
  alibabacloud: { usePodServiceAccountToken: 'true' },
  aws: {},
  cce: { usePodOIDC: 'true', agencyUrn: agency.urn, providerUrn: agency.providerUrn },
};

/** The audiences of the tokens that the driver must send. */
export const audiences = [
  ...['sts.aliyuncs.com', 'sts.amazonaws.com', 'sts.huaweicloud.com'],
  ...['vault', 'openbao'],
];

/**
 * All clouds that have a fake. Their token services trust only tokens that the cluster has signed.
 */
export async function startClouds(isIssued: TokenVerifier) {
  const [cce, alibaba, aws] = await Promise.all([
    startCceFixture({ agencies: [agency], isIssued, realTime: true }),
    startAlibabaFixture({
      isIssued,
      roles: [
        {
          arn: 'acs:ram::1234567890:role/web',
          oidc: { providerArn: oidcProvider, subject: exampleSubject },
        },
      ],
    }),
    startAwsCloud({
      isIssued,
      roles: [
        { arn: iamRole, subject },
        { arn: 'arn:aws:iam::123456789012:role/web', subject: exampleSubject },
      ],
    }),
  ]);
  const directory = await mkdtemp(join(tmpdir(), 'kf-clouds-'));
  const caFile = join(directory, 'ca.crt');
  const caCertificates = await Promise.all(
    [cce.caFile, alibaba.caFile].map((file) => readFile(file, 'utf8')),
  );
  await writeFile(caFile, [...caCertificates, aws.ca].join('\n'));
  // The rate limits of real accounts would slow the suites down.
  const rateLimits = { KEYFERRY_CCE_RATE: '1000', KEYFERRY_CCE_BURST: '1000' };
  const env: Readonly<Record<string, string | undefined>> = {
    ...{ ...cce.env, ...alibaba.env, ...aws.env, ...rateLimits },
  };
  return {
    ...{ cce, alibaba, aws },
    /** Environment variables that make Keyferry call the fakes and trust their certificates. */
    env: Object.fromEntries(
      Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
    ),
    caFile,
    async close() {
      await Promise.all([cce.close(), alibaba.close(), aws.close()]);
      await rm(directory, { recursive: true });
    },
  };
}

export type Clouds = Awaited<ReturnType<typeof startClouds>>;
