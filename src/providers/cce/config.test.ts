import { describe, expect, test } from '@jest/globals';
import { thrownSummary } from '../../../test/fakes/failure.ts';
import { readCceConfig } from './config.ts';

const region = { HUAWEICLOUD_SDK_REGION: 'eu-west-101' };

const errorOf = (env: Record<string, string>): string => thrownSummary(() => readCceConfig(env));

test('derives the endpoints from the region', () => {
  const config = readCceConfig(region);
  expect(config.region?.csms.href).toBe('https://kms.eu-west-101.myhuaweicloud.com/');
  expect(config.region?.sts.href).toBe('https://sts.eu-west-101.myhuaweicloud.com/');
  expect(config.region?.iam.href).toBe('https://iam.myhuaweicloud.com/');
  expect(config.metadata.href).toBe('http://169.254.169.254/');
  expect([config.perSecond, config.burst]).toEqual([5, 200]);
});

test('reads each endpoint from its variable', () => {
  const config = readCceConfig({
    ...region,
    HUAWEICLOUD_SDK_CSMS_ENDPOINT: 'csms.example.com',
    HUAWEICLOUD_SDK_STS_ENDPOINT: 'https://sts.example.com:8443',
    HUAWEICLOUD_SDK_IAM_ENDPOINT: 'iam.example.com',
    HUAWEICLOUD_SDK_METADATA_ENDPOINT: 'http://127.0.0.1:1234',
    HUAWEICLOUD_SDK_PROJECT_ID: '0605767eb280d5762fd5c0133b3f4b6a',
    KEYFERRY_CCE_RATE: '0.5',
    KEYFERRY_CCE_BURST: '20',
  });
  expect(config.region).toMatchObject({
    csms: new URL('https://csms.example.com'),
    sts: new URL('https://sts.example.com:8443'),
    iam: new URL('https://iam.example.com'),
    projectId: '0605767eb280d5762fd5c0133b3f4b6a',
  });
  expect([config.metadata.href, config.perSecond, config.burst]).toEqual([
    'http://127.0.0.1:1234/',
    0.5,
    20,
  ]);
});

describe("the cluster's identity is the first that is configured", () => {
  const provider = { HUAWEICLOUD_SDK_IDP_ID: 'idp', HUAWEICLOUD_SDK_ID_TOKEN_FILE: '/token' };
  const keys = { HUAWEICLOUD_SDK_AK: 'ak', HUAWEICLOUD_SDK_SK: 'sk' };
  const others = { HUAWEI_ACCESS_KEY_ID: 'ak2', HUAWEI_SECRET_ACCESS_KEY: 'sk2' };

  test.each([
    [
      { ...others, ...keys, ...provider },
      { kind: 'id-token', idpId: 'idp', tokenFile: '/token' },
    ],
    [
      { ...others, ...keys },
      { kind: 'keys', accessKey: 'ak' },
    ],
    [others, { kind: 'keys', accessKey: 'ak2' }],
    [{ HUAWEICLOUD_SDK_AK: '', HUAWEICLOUD_SDK_SK: ' ' }, { kind: 'agency' }],
    [{}, { kind: 'agency' }],
  ])('%#', (env, identity) => {
    expect(readCceConfig(env).identity).toMatchObject(identity);
  });

  test('never prints keys', () => {
    expect(
      JSON.stringify(readCceConfig({ ...keys, HUAWEICLOUD_SDK_SECURITY_TOKEN: 'canary' })),
    ).not.toMatch(/"sk"|canary/);
  });
});

test('accepts an environment without a region', () => {
  expect(readCceConfig({}).region).toBeUndefined();
});

test.each([
  [{ HUAWEICLOUD_SDK_REGION: 'evil.example/#' }, 'HUAWEICLOUD_SDK_REGION is not a region'],
  [
    { ...region, HUAWEICLOUD_SDK_IAM_ENDPOINT: 'http://iam.example.com' },
    'HUAWEICLOUD_SDK_IAM_ENDPOINT "http://iam.example.com" is not https',
  ],
  [
    { ...region, HUAWEICLOUD_SDK_CSMS_ENDPOINT: 'https://x/y' },
    'HUAWEICLOUD_SDK_CSMS_ENDPOINT "https://x/y" is not an endpoint',
  ],
  [
    { ...region, HUAWEICLOUD_SDK_PROJECT_ID: '../x' },
    'HUAWEICLOUD_SDK_PROJECT_ID must be the id of a project',
  ],
  [
    { HUAWEICLOUD_SDK_AK: 'ak' },
    'HUAWEICLOUD_SDK_AK is set, but HUAWEICLOUD_SDK_SK is not; set both or none',
  ],
  [
    { HUAWEI_SECRET_ACCESS_KEY: 'sk' },
    'HUAWEI_SECRET_ACCESS_KEY is set, but HUAWEI_ACCESS_KEY_ID is not',
  ],
  [
    { HUAWEICLOUD_SDK_IDP_ID: 'x' },
    'HUAWEICLOUD_SDK_IDP_ID is set, but HUAWEICLOUD_SDK_ID_TOKEN_FILE is not',
  ],
  [{ KEYFERRY_CCE_RATE: '0' }, 'KEYFERRY_CCE_RATE must be a number above 0'],
  [{ KEYFERRY_CCE_BURST: 'many' }, 'KEYFERRY_CCE_BURST must be a number above 0'],
])('rejects %j', (env, message) => {
  expect(errorOf(env as Record<string, string>)).toContain(`NOT_CONFIGURED: cce: ${message}`);
});
