import type { Logger } from 'pino';
import { SecretError, toSecretError } from '../core/errors.ts';
import { CpuLimiter } from '../concurrency/cpu-limiter.ts';
import type { NamespaceLimiter } from '../concurrency/namespace-limiter.ts';
import type { Plan, Problem } from '../core/plan.ts';
import type { Workload } from '../core/workload.ts';
import type { AuthorizeContext, Grant, Provider } from '../core/provider.ts';
import { workloadAuthorizationMaxAge } from '../cache/freshness.ts';
import type { SecretCache } from '../cache/secret-cache.ts';
import type { AuditSubject, Audit } from './audit.ts';
import type { MountMetrics } from './metrics.ts';
import type { PlanCache } from './plan-cache.ts';
import type { Render } from './render.ts';
import type { Staleness } from './staleness.ts';
import type { MountRequest, Volume } from './types.ts';
import type { VolumeHistory } from './volume-history.ts';
import { causeForLog, redactError } from './redact-error.ts';

/** What surrounds one mount. */
export type MountContext = {
  /** The provider whose socket the request came in by. */
  readonly provider: string;
  /** Fires, with a SecretError as its reason, at the deadline or when the caller leaves. May be made when first looked at. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch: when the answer has to leave. */
  readonly deadline: number;
};

/** One mount, from request to volume. Rejects only with SecretError. */
export type Mount = (request: MountRequest, context: MountContext) => Promise<Volume>;

/** What {@link createMount} needs. */
export type MountDeps = {
  readonly providers: ReadonlyMap<string, Provider>;
  readonly turns: NamespaceLimiter;
  readonly plans: PlanCache;
  readonly store: SecretCache;
  readonly render: Render;
  readonly volumeHistory: VolumeHistory;
  readonly audit: Audit;
  readonly metrics: MountMetrics;
  /** Told of what became of each volume; absent: nobody is. */
  readonly staleness?: Staleness;
  readonly log: Logger;
  readonly now: () => number;
};

/** The pipeline: plan, authorize, read, render. */
export function createMount(deps: MountDeps): Mount {
  const {
    providers,
    turns,
    plans,
    store,
    render,
    volumeHistory: volumes,
    audit,
    metrics,
    staleness,
    log,
    now,
  } = deps;
  const cpu = new CpuLimiter();

  return async (request, context) => {
    const arrived = now();
    let asked: AuditSubject = { provider: context.provider };
    try {
      const provider = known(providers, context.provider);
      const { workload, parameters, permission } = request;
      asked = askedBy(workload, provider, volumes);
      const giveTurnBack =
        turns.tryAcquire(workload.tenant) ?? (await turns.acquire(workload.tenant, context.signal));
      try {
        const plan = await plans.plan(
          provider,
          parameters,
          context,
          (problem) => warn(asked, problem),
          (work) => cpu.run(workload.tenant, context, work),
        );
        const grants = await admit(provider, workload, plan, context, arrived);
        volumes.checkIdentity(workload, grants);
        const outcomes = await store.read(provider, grants, context);
        const volume = await cpu.run(workload.tenant, context, () =>
          render(plan, outcomes, permission),
        );
        store.recordDelivery(grants, outcomes);
        volumes.remember(workload, grants);
        staleness?.served(workload);
        const news = audit.delivered(asked, grants, outcomes);
        const ms = observe(asked, 'OK', arrived);
        log[news ? 'info' : 'debug'](
          { ...asked, code: 'OK', ms, files: volume.files.length },
          'mounted',
        );
        return volume;
      } finally {
        giveTurnBack();
      }
    } catch (thrown) {
      const error = redactError(toSecretError(thrown), request.workload);
      audit.refused(asked, error);
      staleness?.failed(request.workload, asked.class ?? 'unknown', error);
      const ms = observe(asked, error.code, arrived);
      log.warn(
        { ...asked, code: error.code, ms, reason: error.summary, cause: causeForLog(error) },
        'mount failed',
      );
      throw error;
    }
  };

  /**
   * Grants that are fresh enough: what decides may be a minute old for a workload already served; for a new one, and before a refusal stands,
   * it is read anew.
   */
  async function admit(
    provider: Provider,
    workload: Workload,
    plan: Plan,
    context: MountContext,
    arrived: number,
  ): Promise<readonly Grant[]> {
    const readSince = (notBefore: number): Promise<readonly Grant[]> =>
      provider.authorize(workload, plan, new LazyAdmission(notBefore, context));
    const admitted = await readSince(arrived - workloadAuthorizationMaxAge).catch(() => undefined);
    const grants = admitted?.every((grant) => store.hasDelivered(grant))
      ? admitted
      : await readSince(arrived);
    if (
      grants.length === plan.refs.length &&
      grants.every(({ ref }, index) => ref === plan.refs[index])
    )
      return grants;
    throw new SecretError(
      'INTERNAL',
      `provider ${provider.name} granted something else than was asked`,
    );
  }

  function warn(asked: AuditSubject, { message, hint, line }: Problem): void {
    metrics.classWarnings.inc({ provider: asked.provider });
    log.warn({ ...asked, problem: message, hint, line }, 'the class has a fault');
  }

  function observe({ provider }: AuditSubject, code: string, arrived: number): number {
    const ms = now() - arrived;
    metrics.answered(provider, code, ms);
    return ms;
  }
}

/** An admission whose signal is made when first looked at. A class, because a getter in a literal was measured to cost more than the mount. */
class LazyAdmission implements AuthorizeContext {
  readonly notBefore: number;
  readonly #context: MountContext;

  constructor(notBefore: number, context: MountContext) {
    this.notBefore = notBefore;
    this.#context = context;
  }

  get signal(): AbortSignal {
    return this.#context.signal;
  }
}

function known(providers: ReadonlyMap<string, Provider>, name: string): Provider {
  const provider = providers.get(name);
  if (provider !== undefined) return provider;
  throw new SecretError('INTERNAL', `there is no provider ${name} in this process`);
}

function askedBy(workload: Workload, provider: Provider, volumes: VolumeHistory): AuditSubject {
  return {
    provider: provider.name,
    namespace: workload.tenant,
    serviceAccount: workload.identity.name,
    ...(workload.pod && { pod: workload.pod.name }),
    class: volumes.classOf(workload),
  };
}
