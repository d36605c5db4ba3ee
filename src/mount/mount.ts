import type { Logger } from 'pino';
import { SecretError, toSecretError } from '../core/errors.ts';
import { type Steps, inOneStep, runSteps } from '../core/steps.ts';
import type { CpuScheduler } from '../concurrency/cpu-scheduler.ts';
import type { NamespaceLimiter } from '../concurrency/namespace-limiter.ts';
import { type Plan, type Problem, problemText } from '../core/plan.ts';
import type { Workload } from '../core/workload.ts';
import type { AuthorizeContext, Grant, Outcome, Provider } from '../core/provider.ts';
import { workloadAuthorizationMaxAgeMs } from '../cache/freshness.ts';
import type { SecretCache } from '../cache/secret-cache.ts';
import type { AuditSubject, Audit } from './audit.ts';
import type { MountMetrics } from './metrics.ts';
import type { PlanCache } from './plan-cache.ts';
import type { RenderSteps } from './render.ts';
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
  /** See `refresh` of a cache's waiter. */
  readonly refresh?: boolean;
  /** What the mount does now. The pipeline sets it; the message at the deadline names it. */
  stage?: MountStage;
};

/** `slot`: it waits for other mounts to end. `cpu`: it compiles, renders, or waits for its turn. */
export type MountStage = 'slot' | 'plan' | 'authorize' | 'read' | 'cpu';

/** One mount, from request to volume. Rejects only with SecretError. */
export type Mount = (request: MountRequest, context: MountContext) => Promise<Volume>;

/** What {@link createMount} needs. */
export type MountDeps = {
  readonly providers: ReadonlyMap<string, Provider>;
  readonly namespaceLimiter: NamespaceLimiter;
  /** Limits the mounts that read many secrets at the same time. */
  readonly largeMountLimiter: NamespaceLimiter;
  readonly plans: PlanCache;
  readonly cache: SecretCache;
  readonly renderSteps: RenderSteps;
  readonly cpuScheduler: CpuScheduler;
  readonly volumeHistory: VolumeHistory;
  readonly audit: Audit;
  readonly metrics: MountMetrics;
  /** Tracks the age of each volume's files. Default: they are not tracked. */
  readonly staleness?: Staleness;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/**
 * Classes up to this length compile in about half a millisecond. They compile at once, so that the
 * reads of pods that start together are sent together.
 */
const smallClassLength = 2_048;

/** A mount of this many files takes a quarter of a millisecond or more, even if all are cached. */
const largePlanFiles = 64;

/**
 * Reads of more secrets than this are limited by `largeMountLimiter`: 500 calls that wait take some
 * 3 MiB of the heap. Four of such mounts already use all connections to a store.
 */
const largePlanRefs = 32;
/** How many bytes of secrets are received, decrypted and parsed in a millisecond of CPU time. */
const bytesReadInMs = 65_536;

/** The pipeline: plan, authorize, read, render. */
export function createMount(deps: MountDeps): Mount {
  const {
    providers,
    namespaceLimiter,
    largeMountLimiter,
    plans,
    cache,
    renderSteps,
    cpuScheduler,
    volumeHistory,
    audit,
    metrics,
    staleness,
    log,
    now,
  } = deps;

  return async (request, context) => {
    const arrivedAt = now();
    let subject: AuditSubject = { provider: context.provider };
    try {
      const provider = findProvider(providers, context.provider);
      const { workload, parameters } = request;
      subject = auditSubject(workload, provider, volumeHistory);
      cpuScheduler.noteActive(workload.tenant);
      context.stage = 'slot';
      const release =
        namespaceLimiter.tryAcquire(workload.tenant) ??
        (await namespaceLimiter.acquire(workload.tenant, context.signal));
      try {
        context.stage = 'plan';
        const plan = await plans.plan(
          provider,
          parameters,
          context,
          (problem) => warn(subject, problem),
          (work, length) =>
            length <= smallClassLength ? runSteps(work) : runInTurn(workload, context, work),
        );
        if (plan.files.length > largePlanFiles) await cpuScheduler.shareTurn();
        context.stage = 'authorize';
        const grants = await authorize(provider, workload, plan, context, arrivedAt);
        volumeHistory.checkIdentity(workload, grants);
        const { outcomes, volume } = await readAndRender(provider, grants, plan, request, context);
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
      const { code, summary: reason, requestId } = error;
      log.warn(
        { ...subject, code, ms, reason, requestId, cause: causeForLog(error) },
        'mount failed',
      );
      throw error;
    }
  };

  function runInTurn<T>({ tenant }: Workload, context: MountContext, work: Steps<T>): Promise<T> {
    context.stage = 'cpu';
    return cpuScheduler.run(tenant, context, work);
  }

  async function readAndRender(
    provider: Provider,
    grants: readonly Grant[],
    plan: Plan,
    { workload, permission }: MountRequest,
    context: MountContext,
  ): Promise<{ readonly outcomes: readonly Outcome[]; readonly volume: Volume }> {
    const render = (outcomes: readonly Outcome[]): Promise<Volume> =>
      runInTurn(workload, context, renderSteps(plan, outcomes, permission));
    const read = (): Promise<readonly Outcome[]> => {
      context.stage = 'read';
      return cache.read(provider, grants, context);
    };
    const outcomesAtOnce =
      plan.refs.length <= largePlanRefs
        ? await read()
        : context.refresh === true
          ? undefined
          : cache.readCached(provider, grants);
    if (outcomesAtOnce !== undefined)
      return { outcomes: outcomesAtOnce, volume: await render(outcomesAtOnce) };
    await runInTurn(
      workload,
      context,
      inOneStep('normal', () => undefined),
    );
    context.stage = 'slot';
    const release = await largeMountLimiter.acquire(workload.tenant, context.signal);
    try {
      const outcomes = await read();
      cpuScheduler.charge(workload.tenant, bytesOf(outcomes) / bytesReadInMs);
      return { outcomes, volume: await render(outcomes) };
    } finally {
      release();
    }
  }

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

function bytesOf(outcomes: readonly Outcome[]): number {
  let bytes = 0;
  for (const outcome of outcomes) if (outcome.kind === 'value') bytes += outcome.value.bytes.length;
  return bytes;
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
