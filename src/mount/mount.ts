import type { Logger } from 'pino';
import { SecretError, toSecretError } from '../core/errors.ts';
import { CpuLimiter } from '../concurrency/cpu-limiter.ts';
import type { NamespaceLimiter } from '../concurrency/namespace-limiter.ts';
import { type Plan, type Problem, problemText } from '../core/plan.ts';
import type { Workload } from '../core/workload.ts';
import type { AuthorizeContext, Grant, Provider } from '../core/provider.ts';
import { workloadAuthorizationMaxAgeMs } from '../cache/freshness.ts';
import type { SecretCache } from '../cache/secret-cache.ts';
import type { AuditSubject, Audit } from './audit.ts';
import type { MountMetrics } from './metrics.ts';
import type { PlanCache } from './plan-cache.ts';
import type { Render } from './render.ts';
import type { Staleness } from './staleness.ts';
import type { MountRequest, Volume } from './types.ts';
import type { VolumeHistory } from './volume-history.ts';
import { causeForLog, redactError } from './redact-error.ts';

/** What belongs to one mount beside its request. */
export type MountContext = {
  /** The provider whose socket received the request. */
  readonly provider: string;
  /**
   * Aborts at the deadline and when the caller disconnects, with a SecretError as its reason. It
   * may be a getter that creates the signal on first use.
   */
  readonly signal: AbortSignal;
  /** The time by which the response must be sent, in milliseconds since the epoch. */
  readonly deadline: number;
};

/** One mount, from request to volume. Rejects only with SecretError. */
export type Mount = (request: MountRequest, context: MountContext) => Promise<Volume>;

/** What {@link createMount} needs. */
export type MountDeps = {
  readonly providers: ReadonlyMap<string, Provider>;
  readonly namespaceLimiter: NamespaceLimiter;
  readonly plans: PlanCache;
  readonly cache: SecretCache;
  readonly render: Render;
  readonly volumeHistory: VolumeHistory;
  readonly audit: Audit;
  readonly metrics: MountMetrics;
  /** Tracks the age of each volume's files. Default: they are not tracked. */
  readonly staleness?: Staleness;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** The pipeline: plan, authorize, read, render. */
export function createMount(deps: MountDeps): Mount {
  const {
    providers,
    namespaceLimiter,
    plans,
    cache,
    render,
    volumeHistory,
    audit,
    metrics,
    staleness,
    log,
    now,
  } = deps;
  const cpuLimiter = new CpuLimiter();

  return async (request, context) => {
    const arrivedAt = now();
    let subject: AuditSubject = { provider: context.provider };
    try {
      const provider = findProvider(providers, context.provider);
      const { workload, parameters, permission } = request;
      subject = auditSubject(workload, provider, volumeHistory);
      const release =
        namespaceLimiter.tryAcquire(workload.tenant) ??
        (await namespaceLimiter.acquire(workload.tenant, context.signal));
      try {
        const plan = await plans.plan(
          provider,
          parameters,
          context,
          (problem) => warn(subject, problem),
          (work) => cpuLimiter.run(workload.tenant, context, work),
        );
        const grants = await authorize(provider, workload, plan, context, arrivedAt);
        volumeHistory.checkIdentity(workload, grants);
        const outcomes = await cache.read(provider, grants, context);
        const volume = await cpuLimiter.run(workload.tenant, context, () =>
          render(plan, outcomes, permission),
        );
        cache.recordDelivery(grants, outcomes);
        volumeHistory.recordDelivery(workload, grants);
        staleness?.recordSuccess(workload);
        const isChange = audit.recordDelivery(subject, grants, outcomes);
        const ms = observe(subject, 'OK', arrivedAt);
        log[isChange ? 'info' : 'debug'](
          { ...subject, code: 'OK', ms, files: volume.files.length },
          'mounted',
        );
        return volume;
      } finally {
        release();
      }
    } catch (thrown) {
      const error = redactError(toSecretError(thrown), request.workload);
      audit.recordDenial(subject, error);
      staleness?.recordFailure(request.workload, subject.class ?? 'unknown', error);
      const ms = observe(subject, error.code, arrivedAt);
      log.warn(
        { ...subject, code: error.code, ms, reason: error.summary, cause: causeForLog(error) },
        'mount failed',
      );
      throw error;
    }
  };

  /**
   * Grants that are fresh enough. What decides about a workload that was served before may be a
   * minute old. For a new workload, and before a denial is final, it is read again.
   */
  async function authorize(
    provider: Provider,
    workload: Workload,
    plan: Plan,
    context: MountContext,
    arrivedAt: number,
  ): Promise<readonly Grant[]> {
    const authorizeSince = (notBefore: number): Promise<readonly Grant[]> =>
      provider.authorize(workload, plan, new LazyAuthorizeContext(notBefore, context));
    const recentGrants = await authorizeSince(arrivedAt - workloadAuthorizationMaxAgeMs).catch(
      () => undefined,
    );
    const grants = recentGrants?.every((grant) => cache.hasDelivered(grant))
      ? recentGrants
      : await authorizeSince(arrivedAt);
    if (
      grants.length === plan.refs.length &&
      grants.every(({ ref }, index) => ref === plan.refs[index])
    )
      return grants;
    throw new SecretError(
      'INTERNAL',
      `provider ${provider.name} returned grants that do not match the plan`,
    );
  }

  function warn(subject: AuditSubject, problem: Problem): void {
    const { hint, line } = problem;
    metrics.classWarnings.inc({ provider: subject.provider });
    log.warn({ ...subject, problem: problemText(problem), hint, line }, 'the class has a problem');
  }

  function observe({ provider }: AuditSubject, code: string, arrivedAt: number): number {
    const ms = now() - arrivedAt;
    metrics.recordMount(provider, code, ms);
    return ms;
  }
}

/**
 * Reads the mount's signal only when it is needed: a mount may create its signal on first use. This
 * is a class because a getter in an object literal was measured to cost more than the whole mount.
 */
class LazyAuthorizeContext implements AuthorizeContext {
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

function findProvider(providers: ReadonlyMap<string, Provider>, name: string): Provider {
  const provider = providers.get(name);
  if (provider !== undefined) return provider;
  throw new SecretError('INTERNAL', `there is no provider ${name} in this process`);
}

function auditSubject(
  workload: Workload,
  provider: Provider,
  volumeHistory: VolumeHistory,
): AuditSubject {
  return {
    provider: provider.name,
    namespace: workload.tenant,
    serviceAccount: workload.identity.name,
    ...(workload.pod && { pod: workload.pod.name }),
    class: volumeHistory.classOf(workload),
  };
}
