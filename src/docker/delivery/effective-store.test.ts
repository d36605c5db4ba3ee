import { describe, expect, test } from '@jest/globals';
import type { SecretError } from '../../core/errors.ts';
import { readDsoConfig } from '../config/read.ts';
import { type HostConfig, type ProjectStores, effectiveStore } from './effective-store.ts';

const hostOf = (yaml: string): HostConfig => ({
  file: '/etc/dso/dso.yaml',
  config: readDsoConfig(yaml, 'dso.yaml').config!,
});
const empty = hostOf('');
const vaultAndAws = hostOf(`
providers:
  main: {type: vault, addresses: [https://v1:8200, https://v2:8200], namespace: ops, auth: {method: token}}
  aws: {type: aws, region: eu-west-1, role_arn: "arn:aws:iam::1:role/a"}
  east: {type: aws, region: us-east-1}
`);

const storeOf = (
  host: HostConfig,
  provider?: string,
  stores: ProjectStores = {},
): Record<string, unknown> => {
  const { name, provider: key, config } = effectiveStore(provider, stores, host);
  const { region, namespace, addresses, auth } = config;
  return { name, key, region, namespace, address: addresses?.[0], auth: auth?.method };
};

describe('the store of a reference', () => {
  test('is the host’s store of that name, with the host’s login', () => {
    expect(storeOf(vaultAndAws, 'main')).toEqual({
      ...{ name: 'main', key: 'main', namespace: 'ops', address: 'https://v1:8200', auth: 'token' },
    });
  });

  test('is the default of the host where the reference names none', () => {
    expect(storeOf(hostOf('provider: aws'))).toMatchObject({ name: 'aws' });
    const two = 'providers: {a: {type: aws}, b: {type: local}}\ndefaults: {provider: b}';
    expect(storeOf(hostOf(two))).toMatchObject({ name: 'b' });
  });

  test('has region, project and namespace of the project, and is then another store', () => {
    const stores = { aws: { type: 'aws', region: 'ap-south-1' } } as const;
    expect(storeOf(vaultAndAws, 'aws', stores)).toMatchObject({
      ...{ name: 'aws', key: 'aws region=ap-south-1', region: 'ap-south-1' },
    });
    const same = { aws: { type: 'aws', region: 'eu-west-1' } } as const;
    expect(storeOf(vaultAndAws, 'aws', same)).toMatchObject({ key: 'aws' });
    const team = { v: { type: 'vault', namespace: 'team' } } as const;
    expect(storeOf(vaultAndAws, 'v', team)).toMatchObject({
      ...{ name: 'main', key: 'main namespace=team', namespace: 'team', auth: 'token' },
    });
  });

  test('is that of the machine for a cloud that the host does not configure', () => {
    const stores = { mine: { type: 'huawei', region: 'ap-southeast-3' } } as const;
    expect(storeOf(empty, 'mine', stores)).toMatchObject({
      ...{ name: 'huawei', key: 'huawei here region=ap-southeast-3', region: 'ap-southeast-3' },
    });
  });

  test.each<[string, HostConfig, string | undefined, ProjectStores, string, string]>([
    [
      'no store at all',
      empty,
      undefined,
      {},
      'NOT_CONFIGURED',
      'names no store to read secrets from',
    ],
    ['no default', vaultAndAws, undefined, {}, 'NOT_CONFIGURED', 'has several: main, aws, east'],
    [
      'an unknown name',
      vaultAndAws,
      'prod',
      {},
      'NOT_CONFIGURED',
      'has no store prod; it has main',
    ],
    [
      'a name of the prototype',
      vaultAndAws,
      'constructor',
      {},
      'NOT_CONFIGURED',
      'has no store constructor',
    ],
    [
      'a type that the host lacks',
      vaultAndAws,
      'l',
      { l: { type: 'local' } },
      'NOT_CONFIGURED',
      'has no store of type local for l',
    ],
    [
      'one of several',
      vaultAndAws,
      'x',
      { x: { type: 'aws' } },
      'NOT_CONFIGURED',
      'none is named x',
    ],
    [
      'another address',
      vaultAndAws,
      'main',
      { main: { type: 'vault', addresses: ['https://v1:8200', 'https://evil'] } },
      'NOT_GRANTED',
      'other addresses',
    ],
    [
      'another role',
      vaultAndAws,
      'aws',
      { aws: { type: 'aws', roleArn: 'arn:aws:iam::1:role/b' } },
      'NOT_GRANTED',
      'other roleArn',
    ],
    [
      'an endpoint',
      empty,
      'aws',
      { aws: { type: 'aws', endpoint: 'https://evil' } },
      'NOT_GRANTED',
      'other endpoint',
    ],
    [
      'another server name',
      vaultAndAws,
      'main',
      { main: { type: 'vault', tlsServerName: 'evil' } },
      'NOT_GRANTED',
      'other tlsServerName',
    ],
  ])('is refused with %s, and the remedy', (_, host, provider, stores, code, message) => {
    let error: SecretError | undefined;
    try {
      effectiveStore(provider, stores, host);
    } catch (thrown) {
      error = thrown as SecretError;
    }
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
    expect(error?.hint).toBeTruthy();
  });
});
