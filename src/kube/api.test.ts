import { writeFile } from 'node:fs/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import { missingPath } from '../../test/missing-path.ts';
import { rejectedError } from '../../test/fakes/failure.ts';
import {
  startFakeKubernetes,
  type FakeKubernetes,
  type FakeServiceAccount,
} from '../../test/fakes/kubernetes.ts';
import { SecretError } from '../core/errors.ts';
import { createHttpClient } from '../http/client.ts';
import { createKubeApi, type KubeApi } from './api.ts';
import { inCluster } from './api.ts';

const neverAborted = new AbortController().signal;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

async function apiOf(
  accounts: Record<string, FakeServiceAccount> = {},
): Promise<{ api: KubeApi; kubernetes: FakeKubernetes }> {
  const kubernetes = await startFakeKubernetes(accounts);
  // Nothing listens at this proxy: the client must bypass it.
  const http = createHttpClient({ proxy: { httpsProxy: 'http://127.0.0.1:9', noProxy: '' } });
  cleanups.push(kubernetes.close, () => http.close());
  const { server, tokenFile, caFile } = kubernetes;
  return { api: createKubeApi({ http, server, tokenFile, caFile }), kubernetes };
}

const app = ['api', 'v1', 'namespaces', 'shop', 'serviceaccounts', 'app'];

describe('the Kubernetes API', () => {
  test('returns an object for the token in the file', async () => {
    const { api, kubernetes } = await apiOf({ 'shop/app': { uid: 'u1', annotations: { a: 'b' } } });
    expect(await api.get(app, neverAborted)).toMatchObject({
      metadata: { uid: 'u1', annotations: { a: 'b' } },
    });
    expect(kubernetes.reads('shop/app')).toBe(1);
  });

  test('gets a renewed token at once', async () => {
    const { api, kubernetes } = await apiOf({ 'shop/app': {} });
    await api.get(app, neverAborted);
    await kubernetes.rotateToken('second-token');
    await expect(api.get(app, neverAborted)).resolves.toBeDefined();
    await writeFile(kubernetes.tokenFile, 'stale-token');
    const failure = await rejectedError(api.get(app, neverAborted));
    expect(failure.code).toBe('ADMISSION_UNAVAILABLE');
    expect(failure.message).toBe(
      `${kubernetes.server.host} rejects the token of Keyferry: Unauthorized`,
    );
    expect(failure.summary).not.toContain('stale-token');
  });

  test('distinguishes a missing object from a forbidden one', async () => {
    const { api, kubernetes } = await apiOf();
    expect(await rejectedError(api.get(app, neverAborted))).toMatchObject({
      code: 'OBJECT_NOT_FOUND',
      message: 'serviceaccounts "app" not found',
    });
    kubernetes.deny(true);
    expect(await rejectedError(api.get(app, neverAborted))).toMatchObject({
      code: 'ACCESS_DENIED',
      message: expect.stringContaining('cannot get resource "serviceaccounts"'),
    });
  });

  test('encodes names, so that they cannot leave the path', async () => {
    const { api, kubernetes } = await apiOf({ 'shop/app': {} });
    const names = ['api', 'v1', 'namespaces', 'shop', 'serviceaccounts', 'x/../app?watch=1'];
    expect((await rejectedError(api.get(names, neverAborted))).code).toBe('OBJECT_NOT_FOUND');
    expect(kubernetes.requests.at(-1)).toMatchObject({
      query: '',
      path: expect.stringMatching(/x%2F\.\.%2Fapp%3Fwatch%3D1$/),
    });
    expect((await rejectedError(api.get(['api', '..'], neverAborted))).code).toBe('INVALID_CLASS');
  });

  test('is retried when it is busy or disconnects, with three attempts in all', async () => {
    const { api, kubernetes } = await apiOf({ 'shop/app': {} });
    kubernetes.injectFault({ times: 2, response: { status: 429 } });
    await expect(api.get(app, neverAborted)).resolves.toBeDefined();
    kubernetes.injectFault({ times: 1, reset: true });
    await expect(api.get(app, neverAborted)).resolves.toBeDefined();
    expect(kubernetes.reads()).toBe(5);
    kubernetes.injectFault({
      response: { status: 503, body: { kind: 'Status', message: 'etcd is down' } },
    });
    expect(await rejectedError(api.get(app, neverAborted))).toMatchObject({
      code: 'ADMISSION_UNAVAILABLE',
      message: `the Kubernetes API server ${kubernetes.server.host} responded with HTTP 503: etcd is down`,
    });
    expect(kubernetes.reads()).toBe(8);
  });

  test.each([
    [
      'a redirect',
      { status: 302, headers: { location: 'https://elsewhere.example' } },
      'responded with HTTP 302',
    ],
    [
      'a 404 that is not of Kubernetes',
      { status: 404, body: '404 page not found' },
      'responded with HTTP 404',
    ],
    ['a response that is not JSON', { body: '<html>' }, 'is not JSON'],
    ['an endless response', { body: Buffer.alloc(2_000_000) }, 'more than 1048576 bytes'],
  ])('%s is ADMISSION_UNAVAILABLE', async (_, response, text) => {
    const { api, kubernetes } = await apiOf({ 'shop/app': {} });
    kubernetes.injectFault({ response });
    const failure = await rejectedError(api.get(app, neverAborted));
    expect(failure.code).toBe('ADMISSION_UNAVAILABLE');
    expect(failure.message).toContain(text);
    expect(kubernetes.reads()).toBe(1);
  });

  test('creates an object and returns it', async () => {
    const { api, kubernetes } = await apiOf();
    const event = { kind: 'Event', metadata: { namespace: 'shop' } };
    expect(
      await api.post(['api', 'v1', 'namespaces', 'shop', 'events'], event, neverAborted),
    ).toEqual(event);
    expect(kubernetes.events).toEqual([event]);
    kubernetes.deny(true);
    const rejected = api.post(['api', 'v1', 'namespaces', 'shop', 'events'], event, neverAborted);
    expect(await rejectedError(rejected)).toMatchObject({ code: 'ACCESS_DENIED' });
  });

  test('is not trusted with a certificate of another authority', async () => {
    const { api, kubernetes } = await apiOf({ 'shop/app': {} });
    const other = await startFakeKubernetes();
    cleanups.push(other.close);
    await writeFile(
      kubernetes.caFile,
      (await import('../../test/fakes/tls.ts')).createTestCa().cert,
    );
    const failure = await rejectedError(api.get(app, neverAborted));
    expect(failure.code).toBe('ADMISSION_UNAVAILABLE');
    expect(failure.message).toContain('certificate of an unknown authority');
    expect(kubernetes.reads()).toBe(0);
  });

  test("rejects with the caller's reason", async () => {
    const { api, kubernetes } = await apiOf();
    kubernetes.injectFault({ hang: true });
    const left = new SecretError('CANCELLED', 'left');
    const caller = new AbortController();
    const failure = rejectedError(api.get(app, caller.signal));
    while (kubernetes.reads() === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    caller.abort(left);
    expect(await failure).toBe(left);
  });

  test('reports the missing settings at the first request outside a cluster', async () => {
    const http = createHttpClient();
    cleanups.push(() => http.close());
    expect(
      await rejectedError(createKubeApi({ http, env: {} }).get(app, neverAborted)),
    ).toMatchObject({
      code: 'NOT_CONFIGURED',
      hint: expect.stringContaining('--kube-server, --kube-token-file and --kube-ca-file'),
    });
    const { server, caFile } = (await apiOf()).kubernetes;
    const tokenFile = missingPath();
    const noToken = createKubeApi({ http, server, caFile, tokenFile });
    expect(await rejectedError(noToken.get(app, neverAborted))).toMatchObject({
      code: 'NOT_CONFIGURED',
      message: expect.stringContaining(tokenFile),
    });
  });

  test('is at the address in the environment', () => {
    const serverOf = (host: string, port?: string): string =>
      inCluster({ KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port }).server.origin;
    expect(serverOf('10.247.0.1', '6443')).toBe('https://10.247.0.1:6443');
    expect(serverOf('10.247.0.1')).toBe('https://10.247.0.1');
    expect(serverOf('fd00::1', '443')).toBe('https://[fd00::1]');
    for (const wrong of ['', 'a b']) expect(() => serverOf(wrong)).toThrow('does not know where');
  });
});
