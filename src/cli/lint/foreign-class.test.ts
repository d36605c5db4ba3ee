import { describe, expect, test } from '@jest/globals';
import { suggestProvider } from './foreign-class.ts';

const known = ['alibabacloud', 'aws', 'cce', 'local', 'openbao', 'vault'];

describe('the provider that a user most likely means', () => {
  test.each([
    ['huawei', 'cce'],
    ['HuaweiCloud', 'cce'],
    ['aliyun', 'alibabacloud'],
    ['alicloud', 'alibabacloud'],
    ['alibaba', 'alibabacloud'],
    ['alibaba-cloud', 'alibabacloud'],
    ['bao', 'openbao'],
    ['Vault', 'vault'],
    ['vualt', 'vault'],
    ['aws-secrets-manager', 'aws'],
    ['hashicorp-vault', 'vault'],
    ['huaweicloud.com/dew', 'cce'],
  ])('%s: %s', (name, provider) => {
    expect(suggestProvider(name, known)).toBe(provider);
  });

  test.each([
    'azure',
    'gcp',
    'akeyless',
    'conjur',
    'oci',
    'ibm',
    'infisical',
    'secrets-store',
    'azure-keyvault',
    'yandex',
    'toString',
  ])('%s: none, it is of another vendor', (name) => {
    expect(suggestProvider(name, known)).toBeUndefined();
  });
});
