import { describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import {
  absent,
  createScriptedProvider,
  failed,
  hang,
  value,
  type ScriptedProvider,
} from '../../test/fakes/scripted-provider.ts';
import { SecretError } from '../core/errors.ts';
import { CpuScheduler } from '../concurrency/cpu-scheduler.ts';
import { NamespaceLimiter } from '../concurrency/namespace-limiter.ts';
import type { Plan } from '../core/plan.ts';
import { createFingerprint } from '../providers/shared/identity/fingerprint.ts';
import { grant } from '../core/grant.ts';
import type { AuthorizeContext, Grant, Provider } from '../core/provider.ts';
import { createCacheMetrics } from '../cache/metrics.ts';
import { SecretCache } from '../cache/secret-cache.ts';
import { Audit } from './audit.ts';
import { MountMetrics } from './metrics.ts';
import { createDriverMount } from '../csi/mount-request.ts';
import { createMount } from './mount.ts';
import { PlanCache } from './plan-cache.ts';
import { createRenderSteps } from './render.ts';
import { Staleness } from './staleness.ts';
import { VolumeHistory } from './volume-history.ts';
import { inOneStep } from '../core/steps.ts';

const ref = { service: 'kms', name: 'db' };
const plan: Plan = {
  refs: [ref],
  files: [
    { path: 'db', sources: { value: { ref, selector: { kind: 'whole' } } }, encoding: 'utf-8' },
  ],
  login: undefined,
};

/** A pipeline over one provider whose results and authorization the test sets. */
function createFixture({ limit = 10, compiledPlan = plan, largeMounts = 8 } = {}) {
  const scripted: ScriptedProvider = createScriptedProvider();
  const fingerprint = createFingerprint(new Uint8Array(32));
  const seen = {
    compiled: 0,
    authorizeContexts: [] as AuthorizeContext[],
    kind: 'shared' as 'own' | 'shared',
  };
  const authorization: {
    check: (context: AuthorizeContext) => void;
    grants: (grants: Grant[]) => Grant[];
  } = {
    check: () => undefined,
    grants: (grants) => grants,
  };
  const provider: Provider = {
    ...scripted,
    plan: () =>
      inOneStep('held', () => {
        seen.compiled += 1;
        return { plan: compiledPlan, problems: [] };
      }),
    authorize: async (workload, { refs }, context) => {
      seen.authorizeContexts.push(context);
      authorization.check(context);
      return authorization.grants(
        refs.map((one) =>
          grant({
            ref: one,
            workload,
            principal: {
              fingerprint: fingerprint({ identity: seen.kind, account: workload.identity.name }),
              description: 'scripted',
              kind: seen.kind,
              credentials: () => Promise.resolve({}),
            },
          }),
        ),
      );
    },
  };
  const clock = { time: 1_000_000 };
  const now = (): number => clock.time;
  const lines: Record<string, unknown>[] = [];
  const log = pino(
    { base: null, level: 'debug' },
    { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  );
  const registry = new Registry();
  const mount = createMount({
    providers: new Map([['scripted', provider]]),
    namespaceLimiter: new NamespaceLimiter({ limit, maxQueue: 10 }),
    largeMountLimiter: new NamespaceLimiter({ limit: largeMounts, maxQueue: 10 }),
    plans: new PlanCache(),
    cache: new SecretCache({
      now,
      random: () => 0,
      freshness: () => ({ refreshIntervalMs: 30_000, maxStaleMs: 600_000 }),
      metrics: (bytes) => createCacheMetrics(registry, bytes),
      log,
    }),
    cpuScheduler: new CpuScheduler(),
    renderSteps: createRenderSteps({ versionKey: new Uint8Array(32) }),
    volumeHistory: new VolumeHistory(),
    audit: new Audit({ log, now }),
    metrics: new MountMetrics(registry),
    staleness: new Staleness({ registry, now }),
    log,
    now,
  });
  const driverMount = createDriverMount({ mount, onInvalid: () => undefined });
  const request = (pod: string, more: object = {}, secrets = 'null') =>
    driverMount(
      {
        attributes: JSON.stringify({
          'csi.storage.k8s.io/pod.name': pod,
          'csi.storage.k8s.io/pod.namespace': 'shop',
          'csi.storage.k8s.io/pod.uid': `uid-${pod}`,
          'csi.storage.k8s.io/serviceAccount.name': 'web',
          secretProviderClass: 'web',
          ...more,
        }),
        secrets,
        targetPath: `/pods/${pod}`,
        permission: '420',
      },
      {
        provider: 'scripted',
        signal: new AbortController().signal,
        deadline: clock.time + 110_000,
      },
    );
  return { scripted, seen, authorization, clock, lines, registry, mount, driverMount, request };
}

const notGranted = (): SecretError => new SecretError('NOT_GRANTED', 'not listed');

/** A plan of so many secrets, `db-0` and so on. */
function planOf(secrets: number): Plan {
  const refs = Array.from({ length: secrets }, (_, index) => ({ ...ref, name: `db-${index}` }));
  return {
    ...plan,
    refs,
    files: refs.map((each) => ({
      path: each.name,
      sources: { value: { ref: each, selector: { kind: 'whole' } } },
      encoding: 'utf-8',
    })),
  };
}

describe('mounts that read many secrets', () => {
  async function mountTwo(secrets: number): Promise<readonly (readonly string[])[]> {
    const { scripted, request } = createFixture({ compiledPlan: planOf(secrets), largeMounts: 2 });
    const respond = new Set<() => void>();
    scripted.script(
      'db-0',
      () => new Promise((resolve) => respond.add(() => resolve(value('v', { version: '1' })))),
    );
    for (let index = 1; index < secrets; index += 1)
      scripted.script(`db-${index}`, value('v', { version: '1' }));
    const reading = (): readonly string[] => [...new Set(scripted.calls.map(({ pod }) => pod))];
    const seen: (readonly string[])[] = [];
    const mounts = [
      request('a', { [`csi.storage.k8s.io/serviceAccount.name`]: 'one' }),
      request('b', { [`csi.storage.k8s.io/serviceAccount.name`]: 'two' }),
    ];
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(reading());
    while (respond.size > 0) {
      for (const one of respond) one();
      respond.clear();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(mounts);
    seen.push(reading());
    return seen;
  }

  test('wait for each other in their namespace', async () => {
    expect(await mountTwo(33)).toEqual([['uid-a'], ['uid-a', 'uid-b']]);
  });

  test('up to 32 of them do not', async () => {
    expect(await mountTwo(32)).toEqual([
      ['uid-a', 'uid-b'],
      ['uid-a', 'uid-b'],
    ]);
  });
});

describe('a mount', () => {
  test('returns the files and versions of the plan', async () => {
    const { scripted, request } = createFixture();
    scripted.script('db', value('canary', { version: 'v1' }));
    expect(await request('a')).toEqual({
      files: [{ path: 'db', mode: 0o644, contents: Buffer.from('canary') }],
      versions: [{ id: 'db', version: 'v1' }],
    });
  });

  test('that is repeated compiles nothing, reads nothing, and is authorized by data at most a minute old', async () => {
    const { scripted, seen, clock, request } = createFixture();
    scripted.script('db', value('v1'));
    await request('a');
    clock.time += 20_000;
    seen.authorizeContexts.length = 0;
    await request('a');
    expect(seen.compiled).toBe(1);
    expect(scripted.calls).toHaveLength(1);
    expect(seen.authorizeContexts.map(({ notBefore }) => clock.time - notBefore)).toEqual([60_000]);
  });

  test('of a new pod is authorized by data read after its request', async () => {
    const { scripted, seen, clock, request } = createFixture();
    scripted.script('db', value('v1'));
    await request('a');
    seen.authorizeContexts.length = 0;
    await request('b');
    expect(seen.authorizeContexts.at(-1)?.notBefore).toBe(clock.time);
    expect(scripted.calls).toHaveLength(1);
  });

  test('is not denied by old data', async () => {
    const { scripted, authorization, clock, request } = createFixture();
    scripted.script('db', value('v1'));
    authorization.check = ({ notBefore }) => {
      if (notBefore < clock.time) throw notGranted();
    };
    await expect(request('a')).resolves.toBeDefined();
  });

  test('that is denied reads no secret, and appears in the log, the audit log and the metric', async () => {
    const { scripted, authorization, lines, registry, request } = createFixture();
    authorization.check = () => {
      throw notGranted();
    };
    await expect(request('a')).rejects.toMatchObject({ code: 'NOT_GRANTED' });
    expect(scripted.calls).toHaveLength(0);
    const fields = {
      provider: 'scripted',
      namespace: 'shop',
      pod: 'a',
      serviceAccount: 'web',
      class: 'web',
    };
    expect(lines).toContainEqual(
      expect.objectContaining({ ...fields, audit: 'refused', code: 'NOT_GRANTED' }),
    );
    expect(lines).toContainEqual(
      expect.objectContaining({ ...fields, msg: 'mount failed', code: 'NOT_GRANTED', ms: 0 }),
    );
    expect(await registry.getSingleMetricAsString('keyferry_mounts_total')).toContain(
      'keyferry_mounts_total{provider="scripted",code="NOT_GRANTED"} 1',
    );
  });

  test('that fails after a success is shown by the staleness metric', async () => {
    const { scripted, authorization, clock, registry, request } = createFixture();
    const staleMetric = (): Promise<string> =>
      registry.getSingleMetricAsString('keyferry_stale_seconds');
    scripted.script('db', value('v1'));
    await request('a');
    clock.time += 90_000;
    authorization.check = () => {
      throw notGranted();
    };
    await expect(request('a')).rejects.toMatchObject({ code: 'NOT_GRANTED' });
    expect(await staleMetric()).toContain(
      'keyferry_stale_seconds{namespace="shop",class="web"} 90',
    );
    authorization.check = () => undefined;
    await request('a');
    expect(await staleMetric()).not.toContain('shop');
  });

  test('under the workload’s own identity is never followed by one under a shared identity', async () => {
    const { scripted, seen, request } = createFixture();
    scripted.script('db', value('v1'));
    seen.kind = 'own';
    await request('a');
    seen.kind = 'shared';
    await expect(request('a')).rejects.toMatchObject({ code: 'IDENTITY_DOWNGRADE' });
    await expect(request('b')).resolves.toBeDefined();
  });

  test.each([
    ['fewer grants than refs', () => []],
    [
      'a grant for another ref',
      (grants: Grant[]) => grants.map((one) => ({ ...one, ref: { ...ref } })),
    ],
  ])('fails when the provider returns %s', async (_, grants) => {
    const { authorization, scripted, request } = createFixture();
    authorization.grants = grants;
    await expect(request('a')).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(scripted.calls).toHaveLength(0);
  });

  test('reads a missing secret again at the next request', async () => {
    const { scripted, request } = createFixture();
    scripted.script('db', absent(), value('v1'));
    await expect(request('a')).rejects.toMatchObject({ code: 'OBJECT_NOT_FOUND' });
    await expect(request('a')).resolves.toBeDefined();
  });

  test('releases its slot when it succeeds and when it fails', async () => {
    const { scripted, request } = createFixture({ limit: 1 });
    scripted.script('db', failed('ACCESS_DENIED'), value('v1'));
    await expect(request('a')).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await expect(request('a')).resolves.toBeDefined();
    await expect(request('b')).resolves.toBeDefined();
  });

  test('ends when its signal aborts while the store hangs', async () => {
    const { scripted, driverMount } = createFixture();
    scripted.script('db', hang);
    const caller = new AbortController();
    const attributes = JSON.stringify({
      'csi.storage.k8s.io/pod.name': 'a',
      'csi.storage.k8s.io/pod.namespace': 'shop',
      'csi.storage.k8s.io/pod.uid': 'a',
      'csi.storage.k8s.io/serviceAccount.name': 'web',
    });
    const mounted = driverMount(
      { attributes, secrets: '', targetPath: '/a', permission: '420' },
      { provider: 'scripted', signal: caller.signal, deadline: 2_000_000 },
    );
    setTimeout(() => caller.abort(new SecretError('CANCELLED', 'the caller left')), 5);
    await expect(mounted).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  test('logs changes at info and repeats at debug', async () => {
    const { scripted, lines, request } = createFixture();
    scripted.script('db', value('v1'));
    await request('a');
    await request('a');
    const mounted = lines.filter(({ msg }) => msg === 'mounted').map(({ level }) => level);
    expect(mounted).toEqual([30, 20]);
  });

  test('shows no token or key of its request when the store repeats it', async () => {
    const { scripted, lines, request } = createFixture();
    scripted.script('db', () => ({
      kind: 'failed',
      error: new SecretError('ACCESS_DENIED', 'the store says: no rights for CANARY-pod-key'),
    }));
    const mounted = request('a', {}, JSON.stringify({ secret_id: 'CANARY-pod-key' }));
    await expect(mounted).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await expect(mounted).rejects.not.toThrow('CANARY');
    expect(JSON.stringify(lines)).not.toContain('CANARY');
  });

  test('fails for a provider that this process does not serve', async () => {
    const { mount } = createFixture();
    const workload = {
      ...{ tenant: 'shop', identity: { name: 'web' }, instance: 'a', volume: 'a' },
      ...{ tokens: new Map(), secrets: new Map() },
    };
    await expect(
      mount(
        { workload, parameters: {}, permission: 0o644 },
        { provider: 'other', signal: new AbortController().signal, deadline: 2_000_000 },
      ),
    ).rejects.toMatchObject({ code: 'INTERNAL' });
  });
});
