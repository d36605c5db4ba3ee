import { createHttpClient } from '../../src/http/client.ts';
import type { AwsCloudConfig } from '../../src/providers/aws/config.ts';
import { createAwsAccount } from './aws-account.ts';
import { startFakePodIdentityAgent } from './aws-pod-identity.ts';
import { startFakeSecretsManager } from './aws-secrets-manager.ts';
import { startFakeSsm } from './aws-ssm.ts';
import { startFakeAwsSts, type IamRole } from './aws-sts.ts';
import { createTestCa } from './tls.ts';

export const awsRegion = 'eu-west-1';
/** The region of fallbacks. */
export const awsFailoverRegion = 'us-east-1';

/** See {@link startAwsCloud}. */
export type AwsCloudOptions = {
  readonly roles?: readonly IamRole[];
  /** Pod Identity: role ARNs by `namespace/account`. */
  readonly associations?: Readonly<Record<string, string>>;
  /** Whether STS and the agent accept a token. Default: tokens of `mintAwsToken`. */
  readonly isIssued?: (token: string) => boolean;
};

/**
 * Starts a fake cloud with HTTPS and one server per service. The server serves all regions, because
 * a signature names its region; `account.regionFaults` makes regions fail. The result has clocks
 * that a test can set, and the configuration for the cloud.
 */
export async function startAwsCloud({
  roles = [],
  associations = {},
  isIssued,
}: AwsCloudOptions = {}) {
  /** How far the clocks of the node and of the cloud are ahead, in milliseconds. */
  const clock = { node: 0, cloud: 0 };
  const cloudNow = (): number => Date.now() + clock.cloud;
  const account = createAwsAccount({ clock });
  const ca = createTestCa();
  const tls = ca.issue();
  const associationsByAccount = new Map(Object.entries(associations));
  const commonOptions = { account, now: cloudNow, isIssued };
  const [secretsManager, ssm, sts, ipv4, ipv6] = await Promise.all([
    startFakeSecretsManager({ account, region: awsRegion, tls }),
    startFakeSsm({ ...commonOptions, region: awsRegion, tls }),
    startFakeAwsSts({ ...commonOptions, roles, tls }),
    startFakePodIdentityAgent({ ...commonOptions, associations: associationsByAccount }),
    startFakePodIdentityAgent({ ...commonOptions, associations: associationsByAccount }),
  ]);
  const http = createHttpClient({ ca: [ca.cert] });
  const config: AwsCloudConfig = {
    ...{
      secretsManager: secretsManager.url,
      ssm: ssm.url,
      sts: sts.url,
      fips: false,
      dualstack: false,
    },
    podIdentityAgent: { ipv4: ipv4.url, ipv6: ipv6.url },
    perSecond: { secretsmanager: 1_000, ssm: 1_000 },
    burst: { secretsmanager: 1_000, ssm: 1_000 },
  };
  /** The same configuration as environment variables. */
  const env: Readonly<Record<string, string>> = {
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.url.href,
    AWS_ENDPOINT_URL_SSM: ssm.url.href,
    AWS_ENDPOINT_URL_STS: sts.url.href,
    KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV4: ipv4.url.href,
    KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV6: ipv6.url.href,
  };
  return {
    ...{ account, secretsManager, ssm, sts, http, config, env, clock },
    /** The agent of Pod Identity at its two addresses, with the same associations. */
    agent: { ipv4, ipv6, associations: associationsByAccount },
    /** The certificate authority of the fakes, as PEM. */
    ca: ca.cert,
    now: (): number => Date.now() + clock.node,
    async close() {
      await http.close();
      await Promise.all([secretsManager, ssm, sts, ipv4, ipv6].map((server) => server.close()));
    },
  };
}

export type FakeAwsCloud = Awaited<ReturnType<typeof startAwsCloud>>;
