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
import { NamespaceLimiter } from '../concurrency/namespace-limiter.ts';
import type { Plan } from '../core/plan.ts';
import { createFingerprint } from '../providers/shared/identity/fingerprint.ts';
import { grant } from '../core/grant.ts';
import type { AuthorizeContext, Grant, Provider } from '../core/provider.ts';
import { createCacheMetrics } from '../cache/metrics.ts';
import { SecretCache } from '../cache/secret-cache.ts';
import { createAudit } from './audit.ts';
import { createMountMetrics } from './metrics.ts';
import { createDriverMount } from '../csi/mount-request.ts';
import { createMount } from './mount.ts';
import { createPlanCache } from './plan-cache.ts';
import { createRender } from './render.ts';
import { createStaleness } from './staleness.ts';
import { createVolumeHistory } from './volume-history.ts';

const ref = { service: 'kms', name: 'db' };
const plan: Plan = {
  refs: [ref],
  files: [
    { path: 'db', sources: { value: { ref, selector: { kind: 'whole' } } }, encoding: 'utf-8' },
  ],
  login: undefined,
};

/** A house whose provider answers by script and admits by rule. */
function house({ limit = 10 } = {}) {
  const scripted: ScriptedProvider = createScriptedProvider();
  const fingerprint = createFingerprint(new Uint8Array(32));
  const seen = {
    compiled: 0,
    admissions: [] as AuthorizeContext[],
    identity: 'shared' as 'own' | 'shared',
  };
  const rule: {
    admit: (admission: AuthorizeContext) => void;
    grants: (grants: Grant[]) => Grant[];
  } = {
    admit: () => undefined,
    grants: (grants) => grants,
  };
  const provider: Provider = {
    ...scripted,
    plan: () => {
      seen.compiled += 1;
      return { plan, problems: [] };
    },
    authorize: async (workload, { refs }, admission) => {
      seen.admissions.push(admission);
      rule.admit(admission);
      return rule.grants(
        refs.map((one) =>
          grant({
            ref: one,
            workload,
            principal: {
              fingerprint: fingerprint({ identity: seen.identity }),
              description: 'scripted',
              identity: seen.identity,
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
    turns: new NamespaceLimiter({ limit, maxQueue: 10 }),
    plans: createPlanCache(),
    store: new SecretCache({
      now,
      random: () => 0,
      freshness: () => ({ refreshInterval: 30_000, maxStale: 600_000 }),
      metrics: (bytes) => createCacheMetrics(registry, bytes),
      log,
    }),
    render: createRender({ versionKey: new Uint8Array(32) }),
    volumeHistory: createVolumeHistory(),
    audit: createAudit({ log, now }),
    metrics: createMountMetrics(registry),
    staleness: createStaleness({ registry, now }),
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
        currentVersions: [],
      },
      {
        provider: 'scripted',
        signal: new AbortController().signal,
        deadline: clock.time + 110_000,
      },
    );
  return { scripted, seen, rule, clock, lines, registry, mount, driverMount, request };
}

const granted = (): SecretError => new SecretError('NOT_GRANTED', 'not listed');

describe('a mount', () => {
  test('answers with the files and versions of the plan', async () => {
    const { scripted, request } = house();
    scripted.script('db', value('canary', { version: 'v1' }));
    expect(await request('a')).toEqual({
      files: [{ path: 'db', mode: 0o644, contents: Buffer.from('canary') }],
      versions: [{ id: 'db', version: 'v1' }],
    });
  });

  test('that is repeated compiles nothing, asks the store nothing, and admits from what is at most a minute old', async () => {
    const { scripted, seen, clock, request } = house();
    scripted.script('db', value('v1'));
    await request('a');
    clock.time += 20_000;
    seen.admissions.length = 0;
    await request('a');
    expect(seen.compiled).toBe(1);
    expect(scripted.calls).toHaveLength(1);
    expect(seen.admissions.map(({ notBefore }) => clock.time - notBefore)).toEqual([60_000]);
  });

  test('of a new pod is admitted by what is read after it came, whatever is remembered', async () => {
    const { scripted, seen, clock, request } = house();
    scripted.script('db', value('v1'));
    await request('a');
    seen.admissions.length = 0;
    await request('b');
    expect(seen.admissions.at(-1)?.notBefore).toBe(clock.time);
    expect(scripted.calls).toHaveLength(1);
  });

  test('is not refused by what is old', async () => {
    const { scripted, rule, clock, request } = house();
    scripted.script('db', value('v1'));
    rule.admit = ({ notBefore }) => {
      if (notBefore < clock.time) throw granted();
    };
    await expect(request('a')).resolves.toBeDefined();
  });

  test('that is refused reads no secret, and says so to the caller, the log, the audit and the metric', async () => {
    const { scripted, rule, lines, registry, request } = house();
    rule.admit = () => {
      throw granted();
    };
    await expect(request('a')).rejects.toMatchObject({ code: 'NOT_GRANTED' });
    expect(scripted.calls).toHaveLength(0);
    const facts = {
      provider: 'scripted',
      namespace: 'shop',
      pod: 'a',
      serviceAccount: 'web',
      class: 'web',
    };
    expect(lines).toContainEqual(
      expect.objectContaining({ ...facts, audit: 'refused', code: 'NOT_GRANTED' }),
    );
    expect(lines).toContainEqual(
      expect.objectContaining({ ...facts, msg: 'mount failed', code: 'NOT_GRANTED', ms: 0 }),
    );
    expect(await registry.getSingleMetricAsString('keyferry_mounts_total')).toContain(
      'keyferry_mounts_total{provider="scripted",code="NOT_GRANTED"} 1',
    );
  });

  test('that fails after it had succeeded does not pass in silence', async () => {
    const { scripted, rule, clock, registry, request } = house();
    const stale = (): Promise<string> => registry.getSingleMetricAsString('keyferry_stale_seconds');
    scripted.script('db', value('v1'));
    await request('a');
    clock.time += 90_000;
    rule.admit = () => {
      throw granted();
    };
    await expect(request('a')).rejects.toMatchObject({ code: 'NOT_GRANTED' });
    expect(await stale()).toContain('keyferry_stale_seconds{namespace="shop",class="web"} 90');
    rule.admit = () => undefined;
    await request('a');
    expect(await stale()).not.toContain('shop');
  });

  test('under its own identity is never followed by one under a shared identity', async () => {
    const { scripted, seen, request } = house();
    scripted.script('db', value('v1'));
    seen.identity = 'own';
    await request('a');
    seen.identity = 'shared';
    await expect(request('a')).rejects.toMatchObject({ code: 'IDENTITY_DOWNGRADE' });
    await expect(request('b')).resolves.toBeDefined();
  });

  test.each([
    ['fewer grants than refs', () => []],
    [
      'a grant for another ref',
      (grants: Grant[]) => grants.map((one) => ({ ...one, ref: { ...ref } })),
    ],
  ])('is refused when the provider gives %s', async (_, grants) => {
    const { rule, scripted, request } = house();
    rule.grants = grants;
    await expect(request('a')).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(scripted.calls).toHaveLength(0);
  });

  test('that failed for want of a secret asks again as soon as it is tried again', async () => {
    const { scripted, request } = house();
    scripted.script('db', absent(), value('v1'));
    await expect(request('a')).rejects.toMatchObject({ code: 'OBJECT_NOT_FOUND' });
    await expect(request('a')).resolves.toBeDefined();
  });

  test('gives its turn back however it ends', async () => {
    const { scripted, request } = house({ limit: 1 });
    scripted.script('db', failed('ACCESS_DENIED'), value('v1'));
    await expect(request('a')).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await expect(request('a')).resolves.toBeDefined();
    await expect(request('b')).resolves.toBeDefined();
  });

  test('ends with its own signal although the store hangs', async () => {
    const { scripted, driverMount } = house();
    scripted.script('db', hang);
    const gone = new AbortController();
    const attributes = JSON.stringify({
      'csi.storage.k8s.io/pod.name': 'a',
      'csi.storage.k8s.io/pod.namespace': 'shop',
      'csi.storage.k8s.io/pod.uid': 'a',
      'csi.storage.k8s.io/serviceAccount.name': 'web',
    });
    const mounted = driverMount(
      { attributes, secrets: '', targetPath: '/a', permission: '420', currentVersions: [] },
      { provider: 'scripted', signal: gone.signal, deadline: 2_000_000 },
    );
    setTimeout(() => gone.abort(new SecretError('CANCELLED', 'the caller left')), 5);
    await expect(mounted).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  test('says at info what is new and at debug what is not', async () => {
    const { scripted, lines, request } = house();
    scripted.script('db', value('v1'));
    await request('a');
    await request('a');
    const mounted = lines.filter(({ msg }) => msg === 'mounted').map(({ level }) => level);
    expect(mounted).toEqual([30, 20]);
  });

  test('shows no token or key of its request, though a store repeats it', async () => {
    const { scripted, lines, request } = house();
    scripted.script('db', () => ({
      kind: 'failed',
      error: new SecretError('ACCESS_DENIED', 'the store says: no rights for CANARY-brought-key'),
    }));
    const mounted = request('a', {}, JSON.stringify({ secret_id: 'CANARY-brought-key' }));
    await expect(mounted).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await expect(mounted).rejects.not.toThrow('CANARY');
    expect(JSON.stringify(lines)).not.toContain('CANARY');
  });

  test('of a provider that is not served here fails', async () => {
    const { mount } = house();
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
