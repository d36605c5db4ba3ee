import { describe, expect, test } from '@jest/globals';
import { cloneOf, replacesLabel, replicasLabel, rollingObstacle } from './clone-container.ts';

const id = '0123456789ab'.repeat(5).padEnd(64, '0');
/** A replica of Compose, as an engine describes it. */
const replica = {
  Id: id,
  Name: '/shop-app-1',
  Image: 'sha256:abc',
  Config: {
    Hostname: id.slice(0, 12),
    Image: 'shop/app:1',
    Env: ['PATH=/run/dso/bin:/bin'],
    Labels: {
      'com.docker.compose.container-number': '1',
      'com.docker.compose.config-hash': 'f00',
    },
  },
  HostConfig: { NetworkMode: 'shop_default', PortBindings: {}, RestartPolicy: { Name: 'always' } },
  Mounts: [{ Type: 'volume', Name: 'dso_shop.app', RW: false, Destination: '/run/dso' }],
  NetworkSettings: {
    Networks: {
      shop_default: {
        ...{ IPAMConfig: null, Links: null, DriverOpts: null, IPAddress: '172.18.0.2' },
        Aliases: ['shop-app-1', 'app', 'shop', id.slice(0, 12)],
      },
      shop_other: { IPAMConfig: {}, Aliases: ['app'], DriverOpts: { a: 'b' } },
    },
  },
};

describe('cloneOf', () => {
  test('makes one more replica, with the same aliases in the same networks', () => {
    const { name, body, networks } = cloneOf(replica, {
      number: 12,
      image: 'shop/app:1',
      replicas: 2,
    });
    expect(name).toBe('shop-app-12');
    expect(body).toEqual({
      ...{ Image: 'shop/app:1', Env: replica.Config.Env, HostConfig: replica.HostConfig },
      Labels: {
        ...replica.Config.Labels,
        'com.docker.compose.container-number': '12',
        [replacesLabel]: id,
        [replicasLabel]: '2',
      },
      NetworkingConfig: {
        EndpointsConfig: { shop_default: { Aliases: ['app', 'shop', 'shop-app-12'] } },
      },
    });
    expect(networks).toEqual(
      new Map([['shop_other', { Aliases: ['app', 'shop-app-12'], DriverOpts: { a: 'b' } }]]),
    );
  });

  test('keeps a hostname that the user has given', () => {
    const Config = { ...replica.Config, Hostname: 'shop' };
    const { body } = cloneOf(
      { ...replica, Config },
      { number: 2, image: 'shop/app:1', replicas: 2 },
    );
    expect(body).toMatchObject({ Hostname: 'shop' });
  });
});

describe('rollingObstacle', () => {
  test('is absent for a replica with secrets', () => {
    expect(rollingObstacle(replica)).toBeUndefined();
  });

  const withHost = (part: object) => ({ HostConfig: { ...replica.HostConfig, ...part } });
  const mount = (part: object) => ({ Mounts: [...replica.Mounts, { RW: true, ...part }] });
  test.each<[object, string]>([
    [withHost({ PortBindings: { '80/tcp': [{ HostPort: '8080' }] } }), 'publishes a port'],
    [withHost({ PortBindings: { '80/tcp': [] } }), 'publishes a port'],
    [withHost({ PublishAllPorts: true }), 'publishes a port'],
    [withHost({ NetworkMode: 'host' }), 'uses the network of the host'],
    [withHost({ NetworkMode: `container:${id}` }), 'uses the network of another container'],
    [
      { NetworkSettings: { Networks: { a: { IPAMConfig: { IPv4Address: '10.0.0.2' } } } } },
      'has a fixed address',
    ],
    [{ Config: { ...replica.Config, MacAddress: '02:42:ac:11:00:02' } }, 'has a fixed address'],
    [mount({ Type: 'volume', Destination: '/data' }), 'can write to what it mounts at /data'],
    [mount({ Type: 'bind', Destination: '/srv' }), 'can write to what it mounts at /srv'],
    [{ Name: '/shop' }, 'has a name of its own'],
    [{ Config: { ...replica.Config, Labels: {} } }, 'has a name of its own'],
    [{ Name: '/shop-app-2' }, 'has a name of its own'],
  ])('is found in %j', (part, reason) => {
    expect(rollingObstacle({ ...replica, ...part })).toContain(reason);
  });
});
