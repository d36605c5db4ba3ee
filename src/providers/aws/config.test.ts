import { describe, expect, test } from '@jest/globals';
import { thrownSummary } from '../../../test/fakes/failure.ts';
import { readAwsConfig } from './config.ts';

const errorOf = (env: Record<string, string>): string => thrownSummary(() => readAwsConfig(env));

const everything = {
  AWS_REGION: 'eu-west-1',
  AWS_ENDPOINT_URL_SECRETS_MANAGER: 'https://vpce-1.secretsmanager.eu-west-1.vpce.amazonaws.com',
  AWS_ENDPOINT_URL_SSM: 'ssm.internal:8443',
  AWS_ENDPOINT_URL_STS: 'https://sts.internal/',
  AWS_USE_FIPS_ENDPOINT: 'True',
  AWS_USE_DUALSTACK_ENDPOINT: 'true',
  KEYFERRY_NODE_NAME: 'node-1',
  KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV4: 'http://127.0.0.1:1234',
  KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV6: 'http://[::1]:1234',
  KEYFERRY_AWS_POD_IDENTITY_PRINCIPAL: 'serviceAccount',
  KEYFERRY_AWS_OWN_IDENTITY: 'TRUE',
  KEYFERRY_AWS_RATE_SECRETSMANAGER: '10',
  KEYFERRY_AWS_BURST_SECRETSMANAGER: '20',
  KEYFERRY_AWS_RATE_SSM: '0.5',
  KEYFERRY_AWS_BURST_SSM: '0.5',
};

test('has defaults: endpoints of the SDK, the agent of EKS, no shared identity', () => {
  expect(readAwsConfig({})).toEqual({
    cloud: {
      fips: false,
      dualstack: false,
      podIdentityAgent: {
        ipv4: new URL('http://169.254.170.23'),
        ipv6: new URL('http://[fd00:ec2::23]'),
      },
      perSecond: { secretsmanager: 50, ssm: 5 },
      burst: { secretsmanager: 200, ssm: 40 },
    },
    ownIdentity: false,
    podIdentityPrincipal: 'pod',
  });
  const empty = Object.fromEntries(Object.keys(everything).map((name) => [name, ' ']));
  expect(readAwsConfig(empty)).toEqual(readAwsConfig({}));
});

test('reads all variables', () => {
  expect(readAwsConfig(everything)).toEqual({
    cloud: {
      secretsManager: new URL('https://vpce-1.secretsmanager.eu-west-1.vpce.amazonaws.com'),
      ssm: new URL('https://ssm.internal:8443'),
      sts: new URL('https://sts.internal'),
      fips: true,
      dualstack: true,
      podIdentityAgent: {
        ipv4: new URL('http://127.0.0.1:1234'),
        ipv6: new URL('http://[::1]:1234'),
      },
      perSecond: { secretsmanager: 10, ssm: 0.5 },
      burst: { secretsmanager: 20, ssm: 1 },
    },
    region: 'eu-west-1',
    nodeName: 'node-1',
    ownIdentity: true,
    podIdentityPrincipal: 'serviceAccount',
  });
});

describe('the order of variables is that of the SDKs', () => {
  test('for the region and the name of the node', () => {
    expect(readAwsConfig({ AWS_DEFAULT_REGION: 'us-east-1' }).region).toBe('us-east-1');
    expect(readAwsConfig({ AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'us-east-1' }).region).toBe(
      'eu-west-1',
    );
    expect(readAwsConfig({ NODE_NAME: 'b' }).nodeName).toBe('b');
    expect(readAwsConfig({ KEYFERRY_NODE_NAME: 'a', NODE_NAME: 'b' }).nodeName).toBe('a');
  });

  test('for endpoints: of the service, else of all services, unless they are ignored', () => {
    const env = {
      AWS_ENDPOINT_URL: 'http://localhost:4566',
      AWS_ENDPOINT_URL_SSM: 'https://ssm.internal',
    };
    expect(readAwsConfig(env).cloud).toMatchObject({
      secretsManager: new URL('http://localhost:4566'),
      ssm: new URL('https://ssm.internal'),
      sts: new URL('http://localhost:4566'),
    });
    const { cloud } = readAwsConfig({ ...env, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true' });
    expect([cloud.secretsManager, cloud.ssm, cloud.sts]).toEqual([undefined, undefined, undefined]);
  });
});

describe('rejects an invalid variable and names it', () => {
  test.each([
    [{ AWS_REGION: 'ireland' }, 'AWS_REGION is not a region: ireland'],
    [{ AWS_DEFAULT_REGION: 'eu-west-1.evil.example/' }, 'AWS_DEFAULT_REGION is not a region'],
    [
      { AWS_ENDPOINT_URL: 'http://secrets.internal' },
      'AWS_ENDPOINT_URL "http://secrets.internal" is not https',
    ],
    [{ AWS_ENDPOINT_URL: 'http://127.0.0.1.evil.example' }, 'is not https'],
    [
      { AWS_ENDPOINT_URL_STS: 'https://sts.internal/path' },
      'AWS_ENDPOINT_URL_STS "https://sts.internal/path" is no',
    ],
    [{ AWS_USE_FIPS_ENDPOINT: 'yes' }, 'AWS_USE_FIPS_ENDPOINT must be true or false'],
    [{ AWS_USE_DUALSTACK_ENDPOINT: '1' }, 'AWS_USE_DUALSTACK_ENDPOINT must be true or false'],
    [{ KEYFERRY_AWS_OWN_IDENTITY: 'on' }, 'KEYFERRY_AWS_OWN_IDENTITY must be true or false'],
    [
      { KEYFERRY_AWS_POD_IDENTITY_PRINCIPAL: 'node' },
      'KEYFERRY_AWS_POD_IDENTITY_PRINCIPAL must be pod or',
    ],
    [
      { KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV6: 'http://fd00:ec2::23' },
      'KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV6',
    ],
    [{ KEYFERRY_AWS_RATE_SSM: '0' }, 'KEYFERRY_AWS_RATE_SSM must be a number above 0'],
    [
      { KEYFERRY_AWS_BURST_SECRETSMANAGER: 'many' },
      'KEYFERRY_AWS_BURST_SECRETSMANAGER must be a number above 0',
    ],
  ])('%j', (env: Record<string, string>, message) => {
    expect(errorOf(env)).toContain(message);
    expect(errorOf(env)).toMatch(/^NOT_CONFIGURED: aws: /);
  });
});
