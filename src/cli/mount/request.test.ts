import { describe, expect, test } from '@jest/globals';
import { buildMountRequest, buildPipelineRequest } from './request.ts';

describe('the request that keyferry mount sends to a socket', () => {
  const spc = { name: 'app', parameters: { objects: '- objectName: a' } };
  const requester = { namespace: 'shop', pod: 'web-1', serviceAccount: 'web' };

  test('has the attributes of a driver', () => {
    const request = buildMountRequest(spc, requester);
    expect(JSON.parse(request.attributes)).toEqual({
      objects: '- objectName: a',
      secretProviderClass: 'app',
      'csi.storage.k8s.io/pod.name': 'web-1',
      'csi.storage.k8s.io/pod.namespace': 'shop',
      'csi.storage.k8s.io/pod.uid': expect.stringMatching(/^[0-9a-f-]{36}$/),
      'csi.storage.k8s.io/serviceAccount.name': 'web',
      'csi.storage.k8s.io/ephemeral': 'true',
    });
    expect(request).toMatchObject({ secrets: 'null', permission: '420' });
  });

  test('has the uid of the pod to which a token is bound', () => {
    const token = (kubernetes: object): string => {
      const claims = { sub: 's', aud: 'a', exp: 1, 'kubernetes.io': kubernetes };
      return `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.sig`;
    };
    const tokens = { none: 'jwt', unbound: token({}), bound: token({ pod: { uid: 'uid-1' } }) };
    const { attributes } = buildMountRequest(spc, { ...requester, tokens });
    expect(JSON.parse(attributes)).toMatchObject({ 'csi.storage.k8s.io/pod.uid': 'uid-1' });
    const { workload } = buildPipelineRequest(
      { ...spc, provider: 'vault' },
      { ...requester, tokens },
    );
    expect(workload.instance).toBe('uid-1');
  });

  test('has tokens by audience, and the keys of nodePublishSecretRef', () => {
    const request = buildMountRequest(spc, {
      ...requester,
      tokens: { 'https://x?a=b': 'jwt' },
      secrets: { id: 'k' },
    });
    const attributes = JSON.parse(request.attributes) as Record<string, string>;
    expect(JSON.parse(attributes['csi.storage.k8s.io/serviceAccount.tokens']!)).toEqual({
      'https://x?a=b': { token: 'jwt', expirationTimestamp: expect.any(String) },
    });
    expect(JSON.parse(request.secrets)).toEqual({ id: 'k' });
  });
});
