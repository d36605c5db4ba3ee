import { regionHost } from '../../http/endpoint.ts';
import type { AwsCloudConfig } from './config.ts';

/** A service, by the name that its hosts, ARNs and signatures contain. */
export type AwsService = 'secretsmanager' | 'ssm' | 'sts';

/** A group of regions that AWS runs apart from the others. */
type Partition = {
  /** As in ARNs. */
  readonly id: string;
  /** How the names of its regions begin. */
  readonly prefix: string;
  readonly suffix: string;
  /** For hosts with IPv4 and IPv6. */
  readonly dualstackSuffix: string;
};

/** The partition of all regions that no other partition has. */
const commercial: Partition = {
  id: 'aws',
  prefix: '',
  suffix: 'amazonaws.com',
  dualstackSuffix: 'api.aws',
};

/** As AWS's SDKs have them. `endpoints.test.ts` compares them with the SDK for JavaScript. */
const partitions: readonly Partition[] = [
  {
    id: 'aws-cn',
    prefix: 'cn-',
    suffix: 'amazonaws.com.cn',
    dualstackSuffix: 'api.amazonwebservices.com.cn',
  },
  {
    id: 'aws-eusc',
    prefix: 'eusc-',
    suffix: 'amazonaws.eu',
    dualstackSuffix: 'api.amazonwebservices.eu',
  },
  {
    id: 'aws-iso',
    prefix: 'us-iso-',
    suffix: 'c2s.ic.gov',
    dualstackSuffix: 'api.aws.ic.gov',
  },
  {
    id: 'aws-iso-b',
    prefix: 'us-isob-',
    suffix: 'sc2s.sgov.gov',
    dualstackSuffix: 'api.aws.scloud',
  },
  {
    id: 'aws-iso-e',
    prefix: 'eu-isoe-',
    suffix: 'cloud.adc-e.uk',
    dualstackSuffix: 'api.cloud-aws.adc-e.uk',
  },
  {
    id: 'aws-iso-f',
    prefix: 'us-isof-',
    suffix: 'csp.hci.ic.gov',
    dualstackSuffix: 'api.aws.hci.ic.gov',
  },
  {
    id: 'aws-us-gov',
    prefix: 'us-gov-',
    suffix: 'amazonaws.com',
    dualstackSuffix: 'api.aws',
  },
  commercial,
];

/** The partition of a region. */
export function partitionOf(region: string): Partition {
  return partitions.find(({ prefix }) => region.startsWith(prefix)) ?? commercial;
}

/** What the operator configures about endpoints. */
export type EndpointConfig = Pick<
  AwsCloudConfig,
  'secretsManager' | 'ssm' | 'sts' | 'fips' | 'dualstack'
>;

/**
 * The endpoint of a service in a region. An endpoint of the operator is used as it is.
 * @throws SecretError INVALID_CLASS if the region is invalid
 */
export function endpointOf(service: AwsService, region: string, config: EndpointConfig): URL {
  const { secretsManager, ssm, sts, fips, dualstack } = config;
  const configured = { secretsmanager: secretsManager, ssm, sts }[service];
  const partition = partitionOf(region);
  const label =
    fips && !isUsualHostFips(service, partition, dualstack) ? `${service}-fips` : service;
  const suffix =
    dualstack && !isUsualHostDualstack(service, partition, fips)
      ? partition.dualstackSuffix
      : partition.suffix;
  const host = regionHost(`${label}.{region}.${suffix}`, region);
  return configured ?? new URL(`https://${host}`);
}

/** The usual hosts of GovCloud (US) are FIPS endpoints, except those of Secrets Manager. */
function isUsualHostFips(service: AwsService, { id }: Partition, dualstack: boolean): boolean {
  return service !== 'secretsmanager' && id === 'aws-us-gov' && !dualstack;
}

/** The usual hosts of Secrets Manager have IPv4 and IPv6 in these partitions. */
function isUsualHostDualstack(service: AwsService, { id }: Partition, fips: boolean): boolean {
  const isUsual = id === 'aws' || id === 'aws-us-gov' || (id === 'aws-cn' && !fips);
  return service === 'secretsmanager' && isUsual;
}
