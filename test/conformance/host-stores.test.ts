import { afterEach, describe, expect, test } from '@jest/globals';
import { SecretError } from '../../src/core/errors.ts';
import { grant } from '../../src/core/grant.ts';
import { type HostStore, type StoreType, storeTypes } from '../../src/core/host-store.ts';
import { refKey } from '../../src/core/plan.ts';
import type { FetchResult } from '../../src/core/provider.ts';
import { createHttpClient } from '../../src/http/client.ts';
import { createOpenSecret } from '../../src/mount/extract.ts';
import { hostStores } from '../../src/providers/host-stores.ts';
import { rejectedError } from '../fakes/failure.ts';
import { hostEnvironments, openHostStore, type HostEnvironment } from './host-environments.ts';

const neverAborted = new AbortController().signal;
const canary = 'CANARY-4711-of-the-value';
/** A host without Kubernetes has none of these. */
const kubernetesWords = /\b(class(es)?|pods?|ServiceAccounts?|DaemonSet|nodePublishSecretRef)\b/;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function fetchOne(
  store: HostStore,
  path: string,
  signal: AbortSignal = neverAborted,
): Promise<FetchResult | undefined> {
  const principal = await store.principal(neverAborted);
  const [result] = store.fetch([
    {
      ...{ urgency: 'first', signal, onStart: () => undefined },
      grant: grant({
        ...{ ref: store.refFor(path), principal, scope: store.grantScope ?? 'principal' },
        workload: {
          ...{
            tenant: 'shop',
            identity: { name: 'app' },
            instance: 'shop/app',
            volume: 'dso_shop',
          },
          ...{ tokens: new Map(), secrets: new Map() },
        },
      }),
    },
  ]);
  return result;
}

test('there is a host store for each type', () => {
  expect(Object.keys(hostStores).sort()).toEqual([...storeTypes].sort());
});

describe.each(storeTypes)('the host store %s', (type: StoreType) => {
  const open = async (): Promise<HostStore | SecretError> => {
    const http = createHttpClient();
    cleanups.push(() => http.close());
    try {
      return await openHostStore({ type }, http);
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(SecretError);
      return thrown as SecretError;
    }
  };

  test('without a configuration opens, or says what it lacks', async () => {
    const opened = await open();
    if (!(opened instanceof SecretError)) return;
    expect(opened.code).toBe('NOT_CONFIGURED');
    expect(opened.message).not.toBe('');
  });

  test.each([
    '',
    '/',
    '..',
    'a/../b',
    'a\0b',
    'a\nb',
    ' ',
    '\u202e',
    'x'.repeat(100_000),
    '%',
    '?',
  ])('takes the path %# as a name, or fails with an error of its own', async (path) => {
    const opened = await open();
    if (opened instanceof SecretError) return;
    try {
      expect(typeof refKey(opened.refFor(path))).toBe('string');
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(SecretError);
      expect((thrown as SecretError).code).toMatch(/^(INVALID_CLASS|NOT_CONFIGURED|NOT_GRANTED)$/);
      expect(`${(thrown as SecretError).hint}`).not.toMatch(kubernetesWords);
      expect((thrown as SecretError).summary.length).toBeLessThan(1_000);
    }
  });
});

describe.each(Object.entries(hostEnvironments))('the host store %s, opened', (_, start) => {
  async function setUp(): Promise<HostEnvironment> {
    const environment = await start();
    cleanups.push(environment.stop);
    await environment.put('app', canary);
    return environment;
  }

  test('makes no call for a ref or for its identity', async () => {
    const { store, pathOf, calls = () => 0, secrets } = await setUp();
    const before = calls();
    expect(refKey(store.refFor(pathOf('app')))).toBe(refKey(store.refFor(pathOf('app'))));
    expect(refKey(store.refFor(pathOf('app')))).not.toBe(refKey(store.refFor(pathOf('other'))));
    const { kind, fingerprint, description } = await store.principal(neverAborted);
    expect(kind).toBe('shared');
    expect((await store.principal(neverAborted)).fingerprint).toBe(fingerprint);
    for (const secret of secrets) expect(`${fingerprint} ${description}`).not.toContain(secret);
    expect(calls()).toBe(before);
  });

  test('reads a secret', async () => {
    const { store, pathOf } = await setUp();
    const result = await fetchOne(store, pathOf('app'));
    if (result?.kind !== 'value') throw new Error(`it is ${result?.kind}`);
    const extract = createOpenSecret()(store.refFor(pathOf('app')), result.value);
    expect(Buffer.from(extract({ kind: 'sole' })).toString()).toBe(canary);
  });

  test('says that a secret is absent', async () => {
    const { store, pathOf } = await setUp();
    const result = await fetchOne(store, pathOf('none'));
    if (result?.kind !== 'absent') throw new Error(`it is ${result?.kind}`);
    expect(result.error.code).toBe('OBJECT_NOT_FOUND');
    expect(result.error.summary).not.toMatch(kubernetesWords);
  });

  test('does not reject where the caller has left', async () => {
    const { store, pathOf } = await setUp();
    const result = await fetchOne(store, pathOf('app'), AbortSignal.abort());
    expect(['failed', 'value']).toContain(result?.kind);
  });

  test('passes its check, as a whole and step by step', async () => {
    const { store, secrets } = await setUp();
    await store.check(neverAborted);
    for (const { name, run } of store.checkSteps ?? []) {
      const found = `${name}: ${await run(neverAborted)}`;
      expect(found).toMatch(/^\P{C}+$/u);
      for (const secret of secrets) expect(found).not.toContain(secret);
    }
  });

  test('lists secrets by the paths of references, without values', async () => {
    const { store, pathOf } = await setUp();
    const listed = await store.list?.(neverAborted);
    if (listed === undefined) return;
    expect(listed.map(({ path }) => path)).toEqual([pathOf('app')]);
    expect(JSON.stringify(listed)).not.toContain(canary);
  });

  test('that is away fails with its own words, and shows no secret', async () => {
    const { store, pathOf, takeAway, secrets } = await setUp();
    // Some stores know who they are only while they can be read.
    await store.principal(neverAborted);
    await takeAway();
    const result = await fetchOne(store, pathOf('app'));
    if (result?.kind !== 'failed') throw new Error(`it is ${result?.kind}`);
    expect(result.error.kind).toBe('outage');
    const check = await rejectedError(store.check(neverAborted));
    for (const { summary, hint } of [result.error, check]) {
      for (const secret of [...secrets, canary]) expect(summary).not.toContain(secret);
      expect(`${hint}`).not.toMatch(kubernetesWords);
    }
  });
});
