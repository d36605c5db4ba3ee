import { afterEach, describe, expect, test } from '@jest/globals';
import type { Volume } from '../src/mount/types.ts';
import type { InjectedFault } from './fakes/http-server.ts';
import { eventually } from './fakes/timers.ts';
import { startVaultFixture, type VaultFixture } from './fakes/vault-fixture.ts';

let fixture: VaultFixture;
afterEach(() => fixture.close());

/** Vault with a role for every account. Its burst lets all calls of a test go at once. */
async function start(options: { readonly patienceMs?: number } = {}): Promise<void> {
  fixture = await startVaultFixture({ env: () => ({ KEYFERRY_VAULT_BURST: '5000' }), ...options });
  fixture.policy('app', { 'secret/data/*': ['read'] });
  fixture.auth.kubernetes().role('app', { audience: 'vault' });
}

const objects = (names: readonly string[]): string =>
  names.map((name) => `- {objectName: ${name}, secretPath: secret/data/${name}}`).join('\n');

test('200 slow paths of one namespace do not delay a read of another one', async () => {
  await start();
  const kv = fixture.kv2();
  const names = Array.from({ length: 200 }, (_, index) => `slow-${index}`);
  for (const name of [...names, 'plain']) kv.put(name, '{"k":"v"}');
  let endSlowReads = (): void => undefined;
  const until = new Promise<void>((resolve) => (endSlowReads = resolve));
  fixture.node.injectFault({ route: 'GET /v1/secret/data/slow', until });
  const slow = fixture.volume(objects(names), { name: 'slow', namespace: 'team-a' });
  await eventually(() => fixture.count('GET /v1/secret/data/slow') === 100);
  const plain = await fixture.volume(objects(['plain']), { name: 'plain', namespace: 'team-b' });
  expect(plain.files).toHaveLength(1);
  expect(fixture.count('GET /v1/secret/data/slow')).toBe(100);
  endSlowReads();
  expect((await slow).files).toHaveLength(200);
});

describe('first mounts while Vault is away', () => {
  const accounts = 20;

  /** Starts pods of 20 accounts in four namespaces. They read ten secrets. */
  function startPods(count = 200): Promise<PromiseSettledResult<Volume>[]> {
    return Promise.allSettled(
      Array.from({ length: count }, (_, pod) =>
        fixture.volume(objects([`secret-${pod % 10}`]), {
          name: `pod-${pod}`,
          namespace: `team-${pod % 4}`,
          account: `app-${pod % accounts}`,
        }),
      ),
    );
  }

  /** Advances the clock of Keyferry and Vault while real timers run. */
  async function advanceUntil(isOver: () => boolean, stepMs: number): Promise<void> {
    while (!isOver()) {
      fixture.advanceClock(stepMs);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  const failures: [string, () => void, () => void][] = [
    ...(
      [
        ['breaks every connection', { reset: true }],
        ['throttles', { response: { status: 429, body: { errors: ['quota exceeded'] } } }],
      ] satisfies [string, InjectedFault][]
    ).map(([name, fault]): [string, () => void, () => void] => [
      name,
      () => fixture.node.injectFault(fault),
      () => fixture.node.injectFault(),
    ]),
    [
      'is sealed',
      () => void (fixture.node.state = 'sealed'),
      () => void (fixture.node.state = 'active'),
    ],
  ];

  test.each(failures)(
    'succeed, all 200, when it is back, without a failed mount and without a storm: it %s',
    async (_, goAway, comeBack) => {
      await start({ patienceMs: 20_000 });
      const kv = fixture.kv2();
      for (let index = 0; index < 10; index += 1) kv.put(`secret-${index}`, '{"k":"v"}');
      goAway();
      let isOver = false;
      const pods = startPods().finally(() => (isOver = true));
      const startedAt = Date.now();
      // The pauses of the retries are on real timers, two seconds long at most.
      await advanceUntil(() => Date.now() - startedAt > 2_000, 10);
      // Each account logs in once, and all of them share the retries.
      expect(fixture.count()).toBeLessThan(2 * accounts + 20);
      comeBack();
      await advanceUntil(() => isOver, 10);
      const outcomes = await pods;
      expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([]);
      expect(fixture.lines.filter((line) => line.includes('mount failed'))).toEqual([]);
    },
    60_000,
  );

  test('fail with the cause when their patience ends', async () => {
    await start({ patienceMs: 20_000 });
    fixture.node.state = 'sealed';
    let isOver = false;
    const pods = startPods(4).finally(() => (isOver = true));
    await advanceUntil(() => isOver, 200);
    const reasons = (await pods).map((outcome) => 'reason' in outcome && String(outcome.reason));
    for (const reason of reasons) expect(reason).toMatch(/is sealed \(HTTP 503\)/);
  });
});

test('a republish does not wait for Vault: it gets the cached value at once', async () => {
  await start({ patienceMs: 20_000 });
  fixture.kv2().put('plain', '{"k":"v"}');
  const first = await fixture.mount(objects(['plain']));
  fixture.node.state = 'sealed';
  fixture.advanceClock(60_000);
  // The clock of the patience does not advance.
  expect(await fixture.mount(objects(['plain']))).toEqual(first);
});
