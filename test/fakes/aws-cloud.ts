import { createHttpClient } from '../../src/http/client.ts';
import type { AwsCloudConfig } from '../../src/providers/aws/config.ts';
import { createAwsAccount } from './aws-account.ts';
import { startFakePodIdentityAgent } from './aws-pod-identity.ts';
import { startFakeSecretsManager } from './aws-secrets-manager.ts';
import { startFakeSsm } from './aws-ssm.ts';
import { startFakeAwsSts, type IamRole } from './aws-sts.ts';
import { createTestCa } from './tls.ts';

export const awsRegion = 'eu-west-1';
/** Where fallbacks are. */
export const awsFailoverRegion = 'us-east-1';

/** How a cloud is made. */
export type AwsCloudOptions = {
  readonly roles?: readonly IamRole[];
  /** Pod Identity: role ARNs by `namespace/account`. */
  readonly associations?: Readonly<Record<string, string>>;
  /** Which ServiceAccounts' tokens STS and the agent believe; default: those of `mintAwsToken`. */
  readonly isIssued?: (token: string) => boolean;
};

/**
 * A whole fake cloud, HTTPS as in life, one server a service for all regions (a signature names its region; see
 * `account.troubles` for outages), with clocks that can be turned, and the configuration that leads to it.
 */
export async function startAwsCloud({
  roles = [],
  associations = {},
  isIssued,
}: AwsCloudOptions = {}) {
  /** Milliseconds fast: ours, and the cloud's. */
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
  /** The same, as the provider's environment. */
  const env: Readonly<Record<string, string>> = {
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.url.href,
    AWS_ENDPOINT_URL_SSM: ssm.url.href,
    AWS_ENDPOINT_URL_STS: sts.url.href,
    KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV4: ipv4.url.href,
    KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV6: ipv6.url.href,
  };
  return {
    ...{ account, secretsManager, ssm, sts, http, config, env, clock },
    /** Pod Identity's, at its two addresses; they know the same associations. */
    agent: { ipv4, ipv6, associations: associationsByAccount },
    /** PEM: to be trusted by who is to reach the fakes. */
    ca: ca.cert,
    now: (): number => Date.now() + clock.node,
    async close() {
      await http.close();
      await Promise.all([secretsManager, ssm, sts, ipv4, ipv6].map((server) => server.close()));
    },
  };
}

export type FakeAwsCloud = Awaited<ReturnType<typeof startAwsCloud>>;
