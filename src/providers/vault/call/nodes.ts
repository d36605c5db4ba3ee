import type { CircuitBreaker } from '../../../concurrency/circuit-breaker.ts';
import { SingleFlight } from '../../../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { HttpResponse } from '../../../http/client.ts';
import type { VaultLogin } from '../types.ts';
import { type VaultErrorResponse, parseErrorResponse } from '../errors.ts';

/**
 * The node cannot serve anybody now: another one may. `unsent` where it was Vault itself that said so, and has not looked at the request;
 * whoever stands before it and says so may have passed it on. Undefined for all other answers.
 * @param address of the node
 */
export function nodeError(
  { status, errors, isFromVault }: VaultErrorResponse,
  address: string,
): SecretError | undefined {
  if (!isFromVault && [502, 503, 504].includes(status))
    return new SecretError(
      'STORE_UNAVAILABLE',
      `${address} leads to no Vault now: something before it answered (HTTP ${status})`,
    );
  const text = errors.join('; ');
  const condition = nodeConditions.find(
    (candidate) => candidate.status === status && candidate.pattern.test(text),
  );
  if (condition === undefined) return undefined;
  return new SecretError(
    'STORE_UNAVAILABLE',
    `${address} ${condition.description} (HTTP ${status})`,
    {
      hint: condition.hint,
      unsent: true,
    },
  );
}

/** What `GET sys/health` says of a node, by its status; undefined: it serves. */
export function healthError(status: number, address: string): SecretError | undefined {
  if (healthy.has(status)) return undefined;
  const { description, hint } = unhealthy.get(status) ?? notVault;
  return new SecretError('STORE_UNAVAILABLE', `${address} ${description} (HTTP ${status})`, {
    hint,
    unsent: true,
  });
}

type NodeCondition = { readonly description: string; readonly hint: string };

const sealed: NodeCondition = {
  description: 'is sealed',
  hint: 'unseal it; if it seals itself again, its log says why',
};
const uninitialised: NodeCondition = {
  description: 'is not initialised',
  hint: 'initialise and unseal it',
};
const secondary: NodeCondition = {
  description: 'is a disaster recovery secondary',
  hint: 'put the address of the primary cluster first',
};
const noActiveNode: NodeCondition = {
  description: 'is a standby node that knows of no active one',
  hint: 'a cluster chooses an active node within seconds; if it does not, its log says why',
};
const partitioned: NodeCondition = {
  description: 'is a standby node that is cut off from the active one',
  hint: 'check the network between the nodes of the cluster',
};
const removed: NodeCondition = {
  description: 'was removed from its cluster',
  hint: 'take its address away',
};
const notVault: NodeCondition = {
  description: 'does not answer as Vault does when asked for its health',
  hint: 'check the address',
};

/** In a real Vault's words. Statuses alone would not do: backends, and proxies, answer with them, too. */
const nodeConditions: readonly (NodeCondition & {
  readonly status: number;
  readonly pattern: RegExp;
})[] = [
  { status: 503, pattern: /\bsealed\b/i, ...sealed },
  { status: 503, pattern: /\bnot (yet )?initiali[sz]ed\b/i, ...uninitialised },
  {
    status: 500,
    pattern: /^local node not active but active cluster node not found$/,
    ...noActiveNode,
  },
  { status: 400, pattern: /^path disabled in replication DR secondary mode$/, ...secondary },
];

/** Active; standby, which passes calls on or sends us to the active node; performance standby, fine for reads. */
const healthy: ReadonlySet<number> = new Set([200, 429, 473]);

const unhealthy: ReadonlyMap<number, NodeCondition> = new Map([
  [472, secondary],
  [474, partitioned],
  [501, uninitialised],
  [503, sealed],
  [530, removed],
]);

/** Single nodes, each by its address, and what became of asking them. */
export type Nodes = {
  /**
   * Asks one node, or leaves it alone: where it failed lately, and where a look at its health finds that it cannot serve.
   * @throws SecretError of an outage, `unsent` where the node has done nothing; what `send` throws; the signal's reason
   */
  request(
    node: Node,
    signal: AbortSignal,
    send: (address: string) => Promise<HttpResponse>,
  ): Promise<HttpResponse>;
  /** How long it is left alone, in milliseconds. */
  cooldownMs(node: Node): number;
};

/** A wrong CA in one class must not close the door for another: the way counts, not the address alone. */
export type Node = { readonly login: Pick<VaultLogin, 'tls'>; readonly address: string };

/** See {@link createNodes}. */
export type NodesDeps = {
  readonly breaker: CircuitBreaker;
  /** The status of `GET sys/health`. @throws SecretError */
  readonly health: (node: Node, signal: AbortSignal) => Promise<number>;
};

/** See {@link Nodes}. */
export function createNodes({ breaker, health }: NodesDeps): Nodes {
  const inFlightHealthChecks = new SingleFlight<undefined>();

  /** One looks for all who come meanwhile. */
  const checkHealth = (node: Node, signal: AbortSignal): Promise<undefined> =>
    inFlightHealthChecks.run(keyOf(node), signal, async (checkSignal) => {
      try {
        const unhealthyError = healthError(await health(node, checkSignal), node.address);
        if (unhealthyError !== undefined) throw unhealthyError;
        breaker.recordSuccess(keyOf(node));
        return undefined;
      } catch (thrown) {
        checkSignal.throwIfAborted();
        const error = toUnsent(toSecretError(thrown));
        breaker.recordFailure(keyOf(node), error);
        throw error;
      }
    });

  const recordFailure = (node: Node, error: SecretError): SecretError => {
    if (error.kind !== 'outage') return error;
    if (error.unsent) breaker.recordFailure(keyOf(node), error);
    // A lost reply can be the fault of what was asked: a slow database. So one looks, before others are turned away.
    else breaker.markHalfOpen(keyOf(node));
    return error;
  };

  return {
    async request(node, signal, send) {
      const state = breaker.stateOf(keyOf(node));
      if (state.kind === 'open') throw state.error;
      if (state.kind === 'half-open') await checkHealth(node, signal);
      const response = await send(node.address).catch((thrown: unknown) => {
        throw recordFailure(node, toSecretError(thrown));
      });
      const nodeFailure =
        response.status < 400 ? undefined : nodeError(parseErrorResponse(response), node.address);
      if (nodeFailure !== undefined) throw recordFailure(node, nodeFailure);
      breaker.recordSuccess(keyOf(node));
      return response;
    },
    cooldownMs(node) {
      const state = breaker.stateOf(keyOf(node));
      // Timers drop fractions and can fire a millisecond early: whoever comes back too soon has lost an attempt.
      return state.kind === 'open' ? Math.ceil(state.retryAfterMs) + 1 : 0;
    },
  };
}

function keyOf({ login, address }: Node): string {
  return JSON.stringify([address, Object.entries(login.tls).sort()]);
}

/** Of a look: the call itself has not been sent. */
function toUnsent({ code, message, hint }: SecretError): SecretError {
  return new SecretError(code, message, { unsent: true, ...(hint !== undefined && { hint }) });
}
