/** What an operator configures of the ways to AWS. Endpoints absent: the SDK's own for the region. */
export type AwsCloudConfig = {
  readonly secretsManager?: URL;
  readonly ssm?: URL;
  readonly sts?: URL;
  readonly fips: boolean;
  readonly dualstack: boolean;
  /** The Pod Identity agent's two addresses; plain http. */
  readonly podIdentityAgent: { readonly ipv4: URL; readonly ipv6: URL };
  /** Calls a second, for each service, region and account, and how many at once after a pause. */
  readonly perSecond: { readonly secretsmanager: number; readonly ssm: number };
  readonly burst: { readonly secretsmanager: number; readonly ssm: number };
};
