import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../core/errors.ts';
import { isSharedGateway, kmsEndpoint, serviceEndpoint } from './endpoints.ts';

const config = { allowedEndpoints: ['kms.example.com:8443'], gatewayCa: ['PEM'] };

describe('a kmsEndpoint', () => {
  test.each([
    ['kst-hzz1.cryptoservice.kms.aliyuncs.com', true],
    ['https://kst-hzz1.cryptoservice.kms.aliyuncs.com', true],
    ['kms.example.com:8443', true],
    ['kms.cn-hangzhou.aliyuncs.com', false],
    ['kms-vpc.cn-hangzhou.aliyuncs.com', false],
  ])(
    "%s is allowed; it is a dedicated gateway, verified by the operator's certificates: %s",
    (text, byOperator) => {
      const { url, tls } = kmsEndpoint(text, config);
      expect(url.href).toBe(`https://${text.replace('https://', '')}/`);
      expect(isSharedGateway(text)).toBe(!byOperator);
      expect(tls).toEqual(byOperator ? { ca: ['PEM'], allowPartialTrustChain: true } : undefined);
    },
  );

  test.each([
    'kms.example.com',
    'cryptoservice.kms.aliyuncs.com',
    'evilcryptoservice.kms.aliyuncs.com',
    'kst.cryptoservice.kms.aliyuncs.com.evil.example',
    'kst-1.cryptoservice.kms.aliyuncs.com:8443',
    'http://kst-1.cryptoservice.kms.aliyuncs.com',
    'http://kms.cn-hangzhou.aliyuncs.com',
    'kms.cn-hangzhou.aliyuncs.com:8443',
    'bucket.oss-cn-hangzhou.aliyuncs.com',
    '100.100.100.200',
    '127.0.0.1:8443',
  ])('%s is not allowed', (text) => {
    expect(() => kmsEndpoint(text, config)).toThrow(/is not among those allowed to classes/);
  });
});

test('a service has an address per region, unless the operator configured one address', () => {
  expect(serviceEndpoint('kms-vpc.{region}.aliyuncs.com', 'cn-hangzhou').url.host).toBe(
    'kms-vpc.cn-hangzhou.aliyuncs.com',
  );
  const address = new URL('https://kms.example.com:8443');
  expect(serviceEndpoint(address, 'cn-hangzhou').url).toBe(address);
  expect(() => serviceEndpoint('kms.{region}.aliyuncs.com', 'x.evil.example/')).toThrow(
    SecretError,
  );
});
