import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { thrownError } from '../../test/fakes/failure.ts';
import { SecretError } from '../core/errors.ts';
import { type RawMountRequest, parseRequest } from './mount-request.ts';

const podAttributes = {
  'csi.storage.k8s.io/pod.name': 'web-0',
  'csi.storage.k8s.io/pod.namespace': 'shop',
  'csi.storage.k8s.io/pod.uid': '7f1c9bb2-0000-4000-8000-000000000001',
  'csi.storage.k8s.io/serviceAccount.name': 'web',
  'csi.storage.k8s.io/ephemeral': 'true',
  secretProviderClass: 'web-secrets',
};

function raw(attributes: object, rest: Partial<RawMountRequest> = {}): RawMountRequest {
  return {
    attributes: JSON.stringify({ ...podAttributes, ...attributes }),
    secrets: 'null',
    targetPath: '/var/lib/kubelet/pods/x/mount',
    permission: '420',
    ...rest,
  };
}

const errorOf = (request: RawMountRequest): SecretError =>
  thrownError(() => parseRequest(request, 'local'));

describe('a mount request', () => {
  test.each(['attributes', 'secrets', 'tokens'])('has a limited number of %s', (what) => {
    const many = Object.fromEntries(Array.from({ length: 201 }, (_, index) => [`k${index}`, '']));
    const tokens = JSON.stringify(
      Object.fromEntries(Object.keys(many).map((key) => [key, { token: 'x' }])),
    );
    const request = {
      attributes: raw(many),
      secrets: raw({}, { secrets: JSON.stringify(many) }),
      tokens: raw({ 'csi.storage.k8s.io/serviceAccount.tokens': tokens }),
    }[what]!;
    expect(errorOf(request)).toMatchObject({ code: 'INVALID_REQUEST' });
    expect(errorOf(request).message).toContain('more than 200');
  });

  test('gives the workload and the parameters, without the keys of the driver', () => {
    const { workload, parameters, permission } = parseRequest(
      raw({ objects: '- x', region: 'eu-1' }),
      'local',
    );
    expect(workload).toMatchObject({
      tenant: 'shop',
      identity: { name: 'web' },
      instance: podAttributes['csi.storage.k8s.io/pod.uid'],
      pod: { name: 'web-0' },
      className: 'web-secrets',
    });
    expect({ ...parameters }).toEqual({ objects: '- x', region: 'eu-1' });
    expect(Object.getPrototypeOf(parameters)).toBeNull();
    expect(permission).toBe(0o644);
  });

  test('reads tokens by audience with their expiry, redacted', () => {
    const tokens = {
      'sts.example': { token: 'a.b.c', expirationTimestamp: '2026-01-02T03:04:05Z' },
    };
    const { workload } = parseRequest(
      raw({ 'csi.storage.k8s.io/serviceAccount.tokens': JSON.stringify(tokens) }),
      'local',
    );
    expect(workload.tokens.get('sts.example')?.token.reveal()).toBe('a.b.c');
    expect(workload.tokens.get('sts.example')?.expiresAt).toBe(Date.parse('2026-01-02T03:04:05Z'));
    expect(inspect(workload, { depth: 9 })).not.toContain('a.b.c');
  });

  test('reads tokens among the secrets, and not as keys of the workload', () => {
    const tokens = JSON.stringify({ aud: { token: 'a.b.c' } });
    const secrets = JSON.stringify({
      access_key: 'k',
      'csi.storage.k8s.io/serviceAccount.tokens': tokens,
    });
    const { workload } = parseRequest(raw({}, { secrets }), 'local');
    expect([...workload.secrets.keys()]).toEqual(['access_key']);
    expect(workload.tokens.has('aud')).toBe(true);
  });

  test.each(['null', '', '{}'])('has no keys when the secrets are "%s"', (secrets) => {
    expect(parseRequest(raw({}, { secrets }), 'local').workload.secrets.size).toBe(0);
  });

  // A sync controller sends its own pod and one path for the volumes of every namespace.
  test('distinguishes volumes by path, provider, namespace, account and pod', () => {
    const volume = (attributes: object, targetPath = '/a', provider = 'local'): string =>
      parseRequest(raw(attributes, { targetPath }), provider).workload.volume;
    const volumes = [
      volume({}),
      volume({}, '/b'),
      volume({}, ''),
      volume({}, '/a', 'cce'),
      volume({ 'csi.storage.k8s.io/pod.namespace': 'other' }),
      volume({ 'csi.storage.k8s.io/serviceAccount.name': 'other' }),
      volume({ 'csi.storage.k8s.io/pod.uid': 'other' }),
    ];
    expect(new Set(volumes).size).toBe(volumes.length);
    expect(volume({ 'csi.storage.k8s.io/pod.name': 'other' })).toBe(volumes[0]);
  });

  test('keeps a parameter called __proto__ a parameter', () => {
    const attributes = JSON.stringify(podAttributes).replace('{', '{"__proto__":"x",');
    const { parameters } = parseRequest({ ...raw({}), attributes }, 'local');
    expect(Object.keys(parameters)).toEqual(['__proto__']);
  });

  test.each([
    ['attributes that are not JSON', { attributes: '{s3cret' }],
    ['attributes that are a list', { attributes: '[]' }],
    ['an attribute that is a number', { attributes: '{"a":1}' }],
    ['secrets that are not JSON', { secrets: 's3cret' }],
    ['a permission that is octal text', { permission: '0x1FF' }],
    ['a permission above 0777', { permission: '512' }],
    ['a missing permission', { permission: '' }],
  ])('is rejected with %s, without quoting it', (_, change) => {
    const error = errorOf({ ...raw({}), ...change });
    expect(error.code).toBe('INVALID_REQUEST');
    expect(error.summary).not.toContain('s3cret');
  });

  test.each(['pod.name', 'pod.namespace', 'pod.uid', 'serviceAccount.name'])('needs %s', (name) => {
    const key = `csi.storage.k8s.io/${name}`;
    expect(errorOf(raw({ [key]: undefined })).message).toContain(key);
    expect(errorOf(raw({ [key]: '../etc' })).hint).toContain('podInfoOnMount');
  });

  test('is rejected with an oversized target path', () => {
    expect(errorOf(raw({}, { targetPath: '/'.repeat(4_097) })).message).toContain('target path');
  });

  test('is rejected above 1 MiB', () => {
    expect(errorOf(raw({ objects: 'x'.repeat(1024 * 1024) })).message).toContain('1 MiB');
  });

  test('fails only with SecretError, whatever its text is', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.json(),
        fc.json(),
        fc.string(),
        (permission, attributes, secrets, targetPath) => {
          const error = errorOf({
            attributes,
            secrets,
            permission,
            targetPath,
          });
          expect(error).toBeInstanceOf(SecretError);
        },
      ),
    );
  });
});
