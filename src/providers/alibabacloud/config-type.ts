/**
 * Where a service is: a host with `{region}` in it (`kms-vpc.{region}.aliyuncs.com`), or one address for all regions.
 */
export type ServiceAddress = string | URL;

/** What an operator configures of the ways to Alibaba Cloud. */
export type AlibabaCloudConfig = {
  readonly kms: ServiceAddress;
  readonly oos: ServiceAddress;
  readonly sts: URL;
  /** Of the instance metadata; plain http. */
  readonly metadata: URL;
  /** Hosts that classes may name beside dedicated gateways and regional endpoints; entries as `classEndpoint` takes them. */
  readonly allowedEndpoints: readonly string[];
  /** PEM: certificates that vouch for dedicated gateways, intermediates among them. For nothing else. */
  readonly gatewayCa: readonly string[];
  /** Calls a second, for each service and account, and how many at once after a pause. */
  readonly perSecond: number;
  readonly burst: number;
};
