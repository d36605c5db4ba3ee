import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startFakeKubernetes, type FakeKubernetes } from '../../test/fakes/kubernetes.ts';
import { mintToken } from '../../test/fakes/service-account-token.ts';
import { rejectedError } from '../../test/fakes/failure.ts';
import { SecretError } from '../core/errors.ts';
import { createHttpClient, type HttpClient } from '../http/client.ts';
import { createKubeApi } from './api.ts';
import { type TokenRequestOptions, TokenRequests } from './token-requests.ts';

const minute = 60_000;
let kubernetes: FakeKubernetes;
let http: HttpClient;
let clock: number;
let minted: object[];
let requests: TokenRequests;

beforeEach(async () => {
  kubernetes = await startFakeKubernetes({ 'shop/app': {} });
  http = createHttpClient();
  clock = Date.now();
  minted = [];
  kubernetes.issueTokens((request) => {
    if (request.podUid === 'gone') return undefined;
    const { namespace, serviceAccount, audience, podUid, expirationSeconds } = request;
    minted.push(request);
    const expiresAt = clock + expirationSeconds * 1_000;
    return mintToken({
      namespace,
      serviceAccount,
      audience,
      podUid,
      expiresAt,
      podName: `${minted.length}`,
    });
  });
  requests = new TokenRequests({ api: createKubeApi({ http, ...kubernetes }), now: () => clock });
});
afterEach(async () => {
  await http.close();
  await kubernetes.close();
});

const get = (more: Partial<TokenRequestOptions> = {}): Promise<string> =>
  requests
    .get({
      ...{
        namespace: 'shop',
        serviceAccount: 'app',
        pod: { name: 'web-0', uid: 'u1' },
        audience: 'vault',
      },
      signal: AbortSignal.timeout(5_000),
      ...more,
    })
    .then((token) => token.reveal());

describe('a token of a pod, from the API server', () => {
  test('is for the audience and bound to the pod', async () => {
    await get();
    expect(minted).toEqual([
      {
        ...{
          namespace: 'shop',
          serviceAccount: 'app',
          audience: 'vault',
          podName: 'web-0',
          podUid: 'u1',
        },
        expirationSeconds: 3_600,
      },
    ]);
  });

  test('is reused for 80 % of its lifetime', async () => {
    const first = await get();
    clock += 47 * minute;
    expect(await get()).toBe(first);
    clock += 2 * minute;
    expect(await get()).not.toBe(first);
    expect(minted).toHaveLength(2);
  });

  test('is created once for concurrent callers', async () => {
    const tokens = await Promise.all(Array.from({ length: 20 }, () => get()));
    expect(new Set(tokens).size).toBe(1);
    expect(minted).toHaveLength(1);
  });

  test('is not reused for another pod, account, namespace or audience', async () => {
    kubernetes.serviceAccounts.set('shop/other', {}).set('other/app', {});
    const tokens = [
      await get(),
      await get({ pod: { name: 'web-0', uid: 'u2' } }),
      await get({ serviceAccount: 'other' }),
      await get({ namespace: 'other' }),
      await get({ audience: 'bank' }),
    ];
    expect(new Set(tokens).size).toBe(5);
  });

  test('is NOT_GRANTED without the account or the pod, and no failure is cached', async () => {
    expect(await rejectedError(get({ serviceAccount: 'nobody' }))).toMatchObject({
      code: 'NOT_GRANTED',
      message:
        'a token of ServiceAccount shop/nobody cannot be created: serviceaccounts "nobody" not found',
    });
    expect(await rejectedError(get({ pod: { name: 'web-9', uid: 'gone' } }))).toMatchObject({
      code: 'NOT_GRANTED',
      message: expect.stringContaining('pods "web-9" not found'),
    });
    kubernetes.deny(true);
    expect(await rejectedError(get())).toMatchObject({
      code: 'ADMISSION_UNAVAILABLE',
      hint: expect.stringContaining('verb create for serviceaccounts/token'),
    });
    kubernetes.deny(false);
    await expect(get()).resolves.toBeDefined();
  });

  test.each([
    ['an outage', { status: 503 }, 'responded with HTTP 503'],
    ['something else', { status: 201, body: { status: {} } }, 'the response is not a token'],
    [
      'a token without end',
      { status: 201, body: { status: { token: 'CANARY' } } },
      'the response is not a token',
    ],
  ])('%s is an error that does not quote the response', async (_, response, words) => {
    kubernetes.injectFault({ response });
    const failure = await rejectedError(get());
    expect(failure.code).toBe('ADMISSION_UNAVAILABLE');
    expect(failure.message).toContain(words);
    expect(failure.summary).not.toContain('CANARY');
  });

  test("rejects with the caller's reason", async () => {
    kubernetes.injectFault({ hang: true });
    const left = new SecretError('CANCELLED', 'left');
    const caller = new AbortController();
    const failure = rejectedError(get({ signal: caller.signal }));
    while (kubernetes.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    caller.abort(left);
    expect(await failure).toBe(left);
  });
});
