import type { Logger } from 'pino';
import { SecretError, toSecretError } from '../core/errors.ts';
import { createCpuShare } from '../concurrency/cpu-limiter.ts';
import type { Turns } from '../concurrency/namespace-limiter.ts';
import type { Plan, Problem } from '../core/plan.ts';
import type { Workload } from '../core/workload.ts';
import type { Admission, Grant, Provider } from '../core/provider.ts';
import { admissionMaxAge } from '../cache/freshness.ts';
import type { SecretStore } from '../cache/secret-cache.ts';
import type { Asked, Audit } from './audit.ts';
import type { MountMetrics } from './metrics.ts';
import type { PlanCache } from './plan-cache.ts';
import type { RawMountRequest } from './types.ts';
import type { Render } from './render.ts';
import { createRequestReader } from './request.ts';
import type { MountRequest } from './request.ts';
import type { Staleness } from './staleness.ts';
import type { Volume } from './types.ts';
import type { Volumes } from './volume-history.ts';
import { causeForLog, withholdSecrets } from './redact-error.ts';

/** The circumstances of one mount. */
export type Circumstances = {
  /** The provider whose socket the request came in by. */
  readonly provider: string;
  /** Fires, with a SecretError as its reason, at the deadline or when the caller leaves. May be made when first looked at. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch: when the answer has to leave. */
  readonly deadline: number;
};

/** One mount, from request to volume. Rejects only with SecretError. */
export type Mount = (request: RawMountRequest, circumstances: Circumstances) => Promise<Volume>;

/** What {@link createMount} needs. */
export type MountDeps = {
  readonly providers: ReadonlyMap<string, Provider>;
  readonly turns: Turns;
  readonly plans: PlanCache;
  readonly store: SecretStore;
  readonly render: Render;
  readonly volumes: Volumes;
  readonly audit: Audit;
  readonly metrics: MountMetrics;
  /** Told of what became of each volume; absent: nobody is. */
  readonly staleness?: Staleness;
  readonly log: Logger;
  readonly now: () => number;
};

/** The walk: parse, plan, admit, read, render. */
export function createMount(deps: MountDeps): Mount {
  const { providers, turns, plans, store, render, volumes, audit, metrics, staleness, log, now } = deps;
  const cpu = createCpuShare();
  const readRequest = createRequestReader();

  return async (raw, circumstances) => {
    const arrived = now();
    let asked: Asked = { provider: circumstances.provider };
    let request: MountRequest | undefined;
    try {
      const provider = known(providers, circumstances.provider);
      request = readRequest(raw, provider.name);
      const { workload, parameters, permission } = request;
      asked = askedBy(workload, provider, volumes);
      const giveTurnBack =
        turns.takeAtOnce(workload.namespace) ?? (await turns.take(workload.namespace, circumstances.signal));
      try {
        const plan = await plans.plan(
          provider,
          parameters,
          circumstances,
          (problem) => warn(asked, problem),
          (work) => cpu.run(workload.namespace, circumstances, work),
        );
        const grants = await admit(provider, workload, plan, circumstances, arrived);
        volumes.checkIdentity(workload, grants);
        const outcomes = await store.read(provider, grants, circumstances);
        const volume = await cpu.run(workload.namespace, circumstances, () =>
          render(plan, outcomes, permission),
        );
        store.remember(grants, outcomes);
        volumes.remember(workload, grants);
        staleness?.served(workload);
        const news = audit.delivered(asked, grants, outcomes);
        const ms = observe(asked, 'OK', arrived);
        log[news ? 'info' : 'debug']({ ...asked, code: 'OK', ms, files: volume.files.length }, 'mounted');
        return volume;
      } finally {
        giveTurnBack();
      }
    } catch (thrown) {
      const error = withholdSecrets(toSecretError(thrown), request?.workload);
      audit.refused(asked, error);
      if (request !== undefined) staleness?.failed(request.workload, asked.class ?? 'unknown', error);
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
    circumstances: Circumstances,
    arrived: number,
  ): Promise<readonly Grant[]> {
    const readSince = (notBefore: number): Promise<readonly Grant[]> =>
      provider.admit(workload, plan, new LazyAdmission(notBefore, circumstances));
    const admitted = await readSince(arrived - admissionMaxAge).catch(() => undefined);
    const grants = admitted?.every((grant) => store.hasServed(grant)) ? admitted : await readSince(arrived);
    if (grants.length === plan.refs.length && grants.every(({ ref }, index) => ref === plan.refs[index]))
      return grants;
    throw new SecretError('INTERNAL', `provider ${provider.name} granted something else than was asked`);
  }

  function warn(asked: Asked, { message, hint, line }: Problem): void {
    metrics.classWarnings.inc({ provider: asked.provider });
    log.warn({ ...asked, problem: message, hint, line }, 'the class has a fault');
  }

  function observe({ provider }: Asked, code: string, arrived: number): number {
    const ms = now() - arrived;
    metrics.answered(provider, code, ms);
    return ms;
  }
}

/** An admission whose signal is made when first looked at. A class, because a getter in a literal was measured to cost more than the mount. */
class LazyAdmission implements Admission {
  readonly notBefore: number;
  readonly #circumstances: Circumstances;

  constructor(notBefore: number, circumstances: Circumstances) {
    this.notBefore = notBefore;
    this.#circumstances = circumstances;
  }

  get signal(): AbortSignal {
    return this.#circumstances.signal;
  }
}

function known(providers: ReadonlyMap<string, Provider>, name: string): Provider {
  const provider = providers.get(name);
  if (provider !== undefined) return provider;
  throw new SecretError('INTERNAL', `there is no provider ${name} in this process`);
}

function askedBy(workload: Workload, provider: Provider, volumes: Volumes): Asked {
  return {
    provider: provider.name,
    namespace: workload.namespace,
    serviceAccount: workload.serviceAccount.name,
    ...(workload.pod && { pod: workload.pod.name }),
    class: volumes.classOf(workload),
  };
}
