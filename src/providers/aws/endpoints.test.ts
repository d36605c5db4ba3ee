import { describe, expect, test } from '@jest/globals';
import { sdkEndpoint } from '../../../test/fakes/aws-sdk.ts';
import { type AwsService, endpointOf, partitionOf } from './endpoints.ts';

const services: readonly AwsService[] = ['secretsmanager', 'ssm', 'sts'];
/** Of all partitions, and some that do not exist. */
const regions = [
  ...['us-east-1', 'us-west-2', 'eu-west-1', 'ap-southeast-7', 'ca-west-1', 'il-central-1'],
  ...['mx-central-1', 'sa-east-1', 'me-south-1', 'af-south-1', 'mars-north-1'],
  ...['cn-north-1', 'cn-northwest-1', 'eusc-de-east-1', 'us-gov-east-1', 'us-gov-west-1'],
  ...['us-iso-east-1', 'us-iso-west-1', 'us-isob-east-1', 'us-isob-west-1', 'eu-isoe-west-1'],
  ...['us-isof-east-1', 'us-isof-south-1'],
];

describe("endpoints are those of AWS's SDK", () => {
  const switches = [false, true].flatMap((fips) =>
    [false, true].map((dualstack) => ({ fips, dualstack })),
  );
  test.each(switches)('%j', (config) => {
    for (const region of regions)
      for (const service of services)
        expect(endpointOf(service, region, config).href).toBe(sdkEndpoint(service, region, config));
  });
});

test("uses the operator's endpoints as they are, with any other settings", () => {
  const [secretsManager, ssm, sts] = ['a', 'b', 'c'].map(
    (name) => new URL(`https://${name}.vpce.example:8443/`),
  );
  const config = { secretsManager: secretsManager!, ssm: ssm!, sts: sts! };
  for (const region of ['eu-west-1', 'cn-north-1'])
    expect(
      services.map((service) =>
        endpointOf(service, region, { ...config, fips: true, dualstack: true }),
      ),
    ).toEqual([secretsManager, ssm, sts]);
});

test.each([
  ...['', 'evil.example/', 'eu-west-1.evil.example', 'eu-west-1@evil.example'],
  ...['169.254.169.254', 'EU-WEST-1', 'us-gov-', 'eu-west-1\r\nhost: evil.example'],
])('has no endpoint for %j, which is not a region', (region) => {
  const endpoint = new URL('https://a.example');
  for (const service of services)
    for (const config of [{}, { secretsManager: endpoint, ssm: endpoint, sts: endpoint }])
      expect(() =>
        endpointOf(service, region, { ...config, fips: false, dualstack: false }),
      ).toThrow(expect.objectContaining({ code: 'INVALID_CLASS' }));
});

test.each([
  ['eu-west-1', 'aws'],
  ['cn-north-1', 'aws-cn'],
  ['us-gov-west-1', 'aws-us-gov'],
  ['us-isob-east-1', 'aws-iso-b'],
])('%s is in the partition %s', (region, id) => {
  expect(partitionOf(region).id).toBe(id);
});
