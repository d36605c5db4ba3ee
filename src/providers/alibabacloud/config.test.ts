import { mkdtempSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { missingPath } from '../../../test/missing-path.ts';
import { createTestCa } from '../../../test/fakes/tls.ts';
import { thrownSummary } from '../../../test/fakes/failure.ts';
import { readAlibabaConfig } from './config.ts';

const errorOf = (env: Record<string, string>): string =>
  thrownSummary(() => readAlibabaConfig(env));

const role = 'acs:ram::1234567890:role/reader';
const oidc = 'acs:ram::1234567890:oidc-provider/ack-rrsa-c0123';

test('without variables: the endpoints of the VPC, and the role of the node', () => {
  const config = readAlibabaConfig({});
  expect(config).toEqual({
    cloud: {
      kms: 'kms-vpc.{region}.aliyuncs.com',
      oos: 'oos-vpc.{region}.aliyuncs.com',
      sts: new URL('https://sts.aliyuncs.com'),
      metadata: new URL('http://100.100.100.200'),
      allowedEndpoints: [],
      gatewayCa: [],
      perSecond: 10,
      burst: 100,
    },
    shared: { kind: 'worker-role' },
  });
});

test('reads every variable', () => {
  const config = readAlibabaConfig({
    ALICLOUD_REGION: 'cn-beijing',
    KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT: 'kms.{region}.aliyuncs.com',
    KEYFERRY_ALIBABACLOUD_OOS_ENDPOINT: 'https://oos.example.com:8443',
    KEYFERRY_ALIBABACLOUD_STS_ENDPOINT: 'sts-vpc.{region}.aliyuncs.com',
    KEYFERRY_ALIBABACLOUD_METADATA_ENDPOINT: 'http://127.0.0.1:1234',
    KEYFERRY_ALIBABACLOUD_KMS_ALLOWED_ENDPOINTS: 'kms.internal:8443, *.kms.example.com,',
    KEYFERRY_ALIBABACLOUD_RATE: '0.5',
    KEYFERRY_ALIBABACLOUD_BURST: '20',
  });
  expect(config.region).toBe('cn-beijing');
  expect(config.cloud).toMatchObject({
    kms: 'kms.{region}.aliyuncs.com',
    oos: new URL('https://oos.example.com:8443'),
    sts: new URL('https://sts-vpc.cn-beijing.aliyuncs.com'),
    metadata: new URL('http://127.0.0.1:1234'),
    allowedEndpoints: ['kms.internal:8443', '*.kms.example.com'],
    perSecond: 0.5,
    burst: 20,
  });
});

describe("the shared identity, in the order of the vendor's provider", () => {
  const keys = { ACCESS_KEY_ID: 'id', SECRET_ACCESS_KEY: 'secret' };

  test.each([
    [
      { ...keys, ALICLOUD_ROLE_ARN: role, ALICLOUD_OIDC_PROVIDER_ARN: oidc },
      {
        kind: 'rrsa',
        roleArn: role,
        oidcProviderArn: oidc,
        sessionName: 'csi-secrets-store-provider-alibaba',
        tokenFile: '/var/run/secrets/tokens/csi-secrets-store-provider-alibabacloud',
      },
    ],
    [
      {
        ALICLOUD_ROLE_ARN: role,
        ALICLOUD_ACCOUNT_ID: '1234567890',
        ALICLOUD_CLUSTER_ID: 'c0123',
        ALICLOUD_OIDC_TOKEN_FILE: '/token',
        ALICLOUD_ROLE_SESSION_NAME: 'mine',
      },
      { kind: 'rrsa', oidcProviderArn: oidc, tokenFile: '/token', sessionName: 'mine' },
    ],
    [
      { ...keys, ALICLOUD_ROLE_ARN: role },
      { kind: 'keys-role', accessKeyId: 'id', roleArn: role, durationSeconds: 3_600 },
    ],
    [
      { ...keys, ALICLOUD_ROLE_ARN: role, ALICLOUD_ROLE_SESSION_EXPIRATION: '900' },
      {
        kind: 'keys-role',
        durationSeconds: 900,
        sessionName: 'csi-secrets-store-provider-alibaba',
      },
    ],
    [keys, { kind: 'keys', accessKeyId: 'id' }],
    [{ ALICLOUD_OIDC_PROVIDER_ARN: oidc }, { kind: 'worker-role' }],
    [{ ACCESS_KEY_ID: '', SECRET_ACCESS_KEY: ' ' }, { kind: 'worker-role' }],
  ])('%j', (env, shared) => {
    expect(readAlibabaConfig(env).shared).toMatchObject(shared);
  });

  test('an explicit OIDC provider comes before the one of account and cluster', () => {
    const env = {
      ALICLOUD_ACCOUNT_ID: '1',
      ALICLOUD_CLUSTER_ID: 'c',
      ALICLOUD_OIDC_PROVIDER_ARN: oidc,
    };
    expect(readAlibabaConfig(env).oidcProviderArn).toBe(oidc);
  });

  test('secrets are redacted', () => {
    expect(
      JSON.stringify(readAlibabaConfig({ ...keys, SECRET_ACCESS_KEY: 'CANARY' })),
    ).not.toContain('CANARY');
  });
});

describe('a bad value stops the start, with the name of the variable', () => {
  test.each([
    [{ ALICLOUD_REGION: 'hangzhou' }, 'ALICLOUD_REGION is not a region: hangzhou'],
    [{ ACCESS_KEY_ID: 'id' }, 'ACCESS_KEY_ID is set, but SECRET_ACCESS_KEY is not'],
    [{ SECRET_ACCESS_KEY: 'x' }, 'SECRET_ACCESS_KEY is set, but ACCESS_KEY_ID is not'],
    [{ ALICLOUD_ROLE_ARN: role }, 'ALICLOUD_ROLE_ARN is set, but nothing to assume the role with'],
    [
      { ALICLOUD_ROLE_ARN: 'reader', ALICLOUD_OIDC_PROVIDER_ARN: oidc },
      'ALICLOUD_ROLE_ARN must be an ARN',
    ],
    [{ ALICLOUD_OIDC_PROVIDER_ARN: 'ack-rrsa' }, 'ALICLOUD_OIDC_PROVIDER_ARN must be an ARN'],
    [
      { ALICLOUD_ACCOUNT_ID: 'me', ALICLOUD_CLUSTER_ID: 'c' },
      'ALICLOUD_ACCOUNT_ID or ALICLOUD_CLUSTER_ID is not',
    ],
    [
      {
        ALICLOUD_ROLE_ARN: role,
        ALICLOUD_OIDC_PROVIDER_ARN: oidc,
        ALICLOUD_ROLE_SESSION_NAME: 'a b',
      },
      'ALICLOUD_ROLE_SESSION_NAME must be',
    ],
    [
      {
        ALICLOUD_ROLE_ARN: role,
        ACCESS_KEY_ID: 'i',
        SECRET_ACCESS_KEY: 's',
        ALICLOUD_ROLE_SESSION_EXPIRATION: '1h',
      },
      'ALICLOUD_ROLE_SESSION_EXPIRATION must be a number of seconds',
    ],
    [{ KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT: 'http://kms.example.com' }, 'is not https'],
    [
      { KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT: 'kms.{region}.x/y' },
      'KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT is not a host',
    ],
    [
      { KEYFERRY_ALIBABACLOUD_STS_ENDPOINT: 'sts-vpc.{region}.aliyuncs.com' },
      'ALICLOUD_REGION is not set',
    ],
    [
      { KEYFERRY_ALIBABACLOUD_KMS_ALLOWED_ENDPOINTS: 'a b' },
      'KEYFERRY_ALIBABACLOUD_KMS_ALLOWED_ENDPOINTS has an',
    ],
    [{ KEYFERRY_ALIBABACLOUD_RATE: '0' }, 'KEYFERRY_ALIBABACLOUD_RATE must be a number above 0'],
  ])('%j', (env: Record<string, string>, message) => {
    expect(errorOf(env)).toContain(message);
    expect(errorOf(env)).toMatch(/^NOT_CONFIGURED: alibabacloud: /);
  });
});

describe('the directory of certificates for dedicated gateways', () => {
  let directory: string;
  const read = (): string =>
    errorOf({ KEYFERRY_ALIBABACLOUD_GATEWAY_CA_DIR: directory }).replaceAll(directory, 'DIR');

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'keyferry-ca-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  test('can have the form of a ConfigMap: links, several files, several certificates per file', () => {
    const [one, two, three] = [createTestCa().cert, createTestCa().cert, createTestCa().cert];
    mkdirSync(join(directory, '..2026'));
    writeFileSync(join(directory, '..2026', 'a.pem'), `# two of them\n${one}${two}`);
    symlinkSync('..2026', join(directory, '..data'));
    symlinkSync('..data/a.pem', join(directory, 'a.pem'));
    writeFileSync(join(directory, 'b.crt'), three);
    const { gatewayCa } = readAlibabaConfig({
      KEYFERRY_ALIBABACLOUD_GATEWAY_CA_DIR: directory,
    }).cloud;
    expect(gatewayCa.map((pem) => pem.trim())).toEqual([one, two, three].map((pem) => pem.trim()));
  });

  test('stops the start if it is empty or missing, has no certificate, or has a broken one', () => {
    expect(read()).toContain('DIR holds no certificate');
    writeFileSync(join(directory, 'readme'), 'hello');
    expect(read()).toContain('DIR/readme holds no certificate');
    writeFileSync(
      join(directory, 'readme'),
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----',
    );
    expect(read()).toContain('DIR/readme holds a certificate that cannot be read');
    const missing = missingPath();
    expect(errorOf({ KEYFERRY_ALIBABACLOUD_GATEWAY_CA_DIR: missing })).toContain(
      `${missing} cannot be read`,
    );
  });
});
