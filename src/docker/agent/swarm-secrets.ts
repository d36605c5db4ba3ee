import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { SecretError, toSecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { type SwarmFailure, toFailure } from '../agent-api.ts';
import type { DsoConfig } from '../config/types.ts';
import {
  type DeliverContext,
  type Delivery,
  type Wanted,
  instanceOf,
} from '../delivery/deliver.ts';
import { fileKey } from '../delivery/delivery-record.ts';
import type { LeaseRefusal } from '../delivery/refuse-leases.ts';
import { type DsoRef, formatReference, parseReference } from '../model/reference.ts';
import type { RequestLimits } from './request-limits.ts';
import type { SwarmRequest } from './secret-provider.ts';
import { SwarmReadLimits } from './swarm-read-limits.ts';

/** What {@link SwarmSecrets} needs. */
export type SwarmSecretsDeps = {
  readonly host: { readonly config: DsoConfig };
  readonly deliver: (wanted: Wanted, context: DeliverContext) => Promise<Delivery>;
  readonly limits: RequestLimits;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** The label of a swarm's secret that says where its value is. */
const referenceLabel = 'dso.ref';
/** The label that `docker stack deploy` gives to a service. */
const stackLabel = 'com.docker.stack.namespace';
/** How many failures are known, and for how long. */
const [maxFailures, failureMs] = [100, 3_600_000];
/** The limits of the manager: https://github.com/moby/swarmkit/blob/master/api/validation/secrets.go. */
const maxBytes = 500 * 1024 - 1;
/** The only file of the delivery. */
const file = 'value';
const instancePrefix = 'swarm:';

/** Whether a workload is a service of a swarm. @param instance of the workload */
export function isOfSwarm(instance: string): boolean {
  return instance.startsWith(instancePrefix);
}

/** A manager asks when a task starts, and never says that it has ended. */
export const leasesInSwarm: LeaseRefusal = {
  isRefused: isOfSwarm,
  reason: 'a swarm does not say when it is no longer used',
  hint: 'name a secret without a lease, such as database/static-creds, or start the service with docker dso up',
};

/** The values of a swarm's secrets that have the driver `dso`. */
export class SwarmSecrets {
  readonly #deps: SwarmSecretsDeps;
  readonly #failures = new LRUCache<string, SwarmFailure>({ max: maxFailures, ttl: failureMs });
  readonly #limits: SwarmReadLimits;

  constructor(deps: SwarmSecretsDeps) {
    this.#deps = deps;
    this.#limits = new SwarmReadLimits(deps.limits, deps.now);
  }

  /** The secrets whose last request has failed. The manager shows no cause. */
  get failures(): readonly SwarmFailure[] {
    return [...this.#failures.values()];
  }

  /**
   * Resolves a secret for a task, by the pipeline that serves the containers of Compose.
   * @throws SecretError
   */
  async read(request: SwarmRequest, signal: AbortSignal): Promise<Uint8Array> {
    const { deliver, log } = this.#deps;
    const { secret, task } = request;
    const asking = serviceOf(request);
    const service = instanceOf(asking);
    const key = `${service}/${secret}`;
    try {
      const ref = this.#refOf(request);
      const { files, versions } = await this.#limits.run(signal, (context) =>
        deliver(
          {
            injection: {
              ...{ ...asking, variables: [], exec: 'off' },
              files: [{ path: file, ref }],
            },
            stores: {},
            instance: `${instancePrefix}${service}`,
          },
          { ...context, isStart: true },
        ),
      );
      const value = files[0]?.contents ?? new Uint8Array();
      checkSize(value, secret);
      this.#failures.delete(key);
      const source = formatReference({ kind: 'variable', ref });
      const version = versions.get(fileKey(file));
      log.info({ ...asking, secret, task, source, version }, 'delivered to a swarm');
      return value;
    } catch (thrown) {
      const error = toSecretError(thrown);
      const { code, summary: reason } = error;
      if (code !== 'CANCELLED')
        this.#failures.set(key, { service, secret, failure: toFailure(error) });
      log.warn({ ...asking, secret, task, code, reason }, 'not delivered to a swarm');
      throw error;
    }
  }

  #refOf({ secret, secretLabels }: SwarmRequest): DsoRef {
    const unknown = [...secretLabels.keys()].find(
      (label) => /^dso\b/i.test(label) && label !== referenceLabel,
    );
    if (unknown !== undefined)
      throw invalid(
        secret,
        `has the label ${sanitizeUserText(unknown)}, which dso does not know`,
        `write --label ${referenceLabel}=dso://path#field`,
      );
    const label = secretLabels.get(referenceLabel);
    const parsed = parseReference(label ?? `dso://${secret}`, this.#deps.host.config);
    if (parsed !== undefined && 'ref' in parsed && parsed.kind === 'variable') return parsed.ref;
    const { fault, hint } =
      parsed !== undefined && 'fault' in parsed
        ? parsed
        : {
            fault: 'a reference begins with dso://',
            hint: 'write it like dso://my-app/database#password',
          };
    const where =
      label === undefined
        ? `has no label ${referenceLabel}, and its name does not say enough`
        : `has a wrong label ${referenceLabel}`;
    throw invalid(secret, `${where}: ${fault}`, hint);
  }
}

/** As grants name it. A service without a stack is a project of its own. */
function serviceOf({ service, serviceLabels }: SwarmRequest): {
  readonly project: string;
  readonly service: string;
} {
  const stack = serviceLabels.get(stackLabel);
  if (stack === undefined || !service.startsWith(`${stack}_`)) return { project: service, service };
  return { project: stack, service: service.slice(stack.length + 1) };
}

/** The manager refuses other sizes, and says so only in its debug log. */
function checkSize({ length }: Uint8Array, secret: string): void {
  if (length === 0)
    throw invalid(secret, 'is empty in the store', 'a swarm takes no empty secret: store a value');
  if (length > maxBytes)
    throw invalid(
      secret,
      `has ${length} bytes, and a swarm takes at most ${maxBytes}`,
      'name a field, or store a smaller value',
    );
}

function invalid(secret: string, problem: string, hint: string): SecretError {
  return new SecretError('INVALID_REQUEST', `the swarm's secret ${secret} ${problem}`, { hint });
}
