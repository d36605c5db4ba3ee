import type { Breaker } from '../../../concurrency/circuit-breaker.ts';
import { createSingleFlight } from '../../../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { HttpAnswer } from '../../../http/client.ts';
import type { VaultLogin } from '../types.ts';
import { type Fault, readFault } from './errors.ts';

/**
 * The node cannot serve anybody now: another one may. `unsent` where it was Vault itself that said so, and has not looked at the request;
 * whoever stands before it and says so may have passed it on. Undefined for all other answers.
 * @param address of the node
 */
export function nodeTrouble({ status, errors, isVaults }: Fault, address: string): SecretError | undefined {
  if (!isVaults && [502, 503, 504].includes(status))
    return new SecretError(
      'STORE_UNAVAILABLE',
      `${address} leads to no Vault now: something before it answered (HTTP ${status})`,
    );
  const text = errors.join('; ');
  const found = troubles.find((trouble) => trouble.status === status && trouble.words.test(text));
  if (found === undefined) return undefined;
  return new SecretError('STORE_UNAVAILABLE', `${address} ${found.says} (HTTP ${status})`, {
    hint: found.hint,
    unsent: true,
  });
}

/** What `GET sys/health` says of a node, by its status; undefined: it serves. */
export function healthTrouble(status: number, address: string): SecretError | undefined {
  if (healthy.has(status)) return undefined;
  const { says, hint } = unhealthy.get(status) ?? noVault;
  return new SecretError('STORE_UNAVAILABLE', `${address} ${says} (HTTP ${status})`, { hint, unsent: true });
}

type Trouble = { readonly says: string; readonly hint: string };

const sealed: Trouble = { says: 'is sealed', hint: 'unseal it; if it seals itself again, its log says why' };
const uninitialised: Trouble = { says: 'is not initialised', hint: 'initialise and unseal it' };
const secondary: Trouble = {
  says: 'is a disaster recovery secondary',
  hint: 'put the address of the primary cluster first',
};
const noActive: Trouble = {
  says: 'is a standby node that knows of no active one',
  hint: 'a cluster chooses an active node within seconds; if it does not, its log says why',
};
const cutOff: Trouble = {
  says: 'is a standby node that is cut off from the active one',
  hint: 'check the network between the nodes of the cluster',
};
const removed: Trouble = { says: 'was removed from its cluster', hint: 'take its address away' };
const noVault: Trouble = {
  says: 'does not answer as Vault does when asked for its health',
  hint: 'check the address',
};

/** In a real Vault's words. Statuses alone would not do: backends, and proxies, answer with them, too. */
const troubles: readonly (Trouble & { readonly status: number; readonly words: RegExp })[] = [
  { status: 503, words: /\bsealed\b/i, ...sealed },
  { status: 503, words: /\bnot (yet )?initiali[sz]ed\b/i, ...uninitialised },
  { status: 500, words: /^local node not active but active cluster node not found$/, ...noActive },
  { status: 400, words: /^path disabled in replication DR secondary mode$/, ...secondary },
];

/** Active; standby, which passes calls on or sends us to the active node; performance standby, fine for reads. */
const healthy: ReadonlySet<number> = new Set([200, 429, 473]);

const unhealthy: ReadonlyMap<number, Trouble> = new Map([
  [472, secondary],
  [474, cutOff],
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
  ask(node: Node, signal: AbortSignal, send: (address: string) => Promise<HttpAnswer>): Promise<HttpAnswer>;
  /** How long it is left alone, in milliseconds. */
  restMs(node: Node): number;
};

/** A wrong CA in one class must not close the door for another: the way counts, not the address alone. */
export type Node = { readonly login: Pick<VaultLogin, 'tls'>; readonly address: string };

/** See {@link createNodes}. */
export type NodesDeps = {
  readonly breaker: Breaker;
  /** The status of `GET sys/health`. @throws SecretError */
  readonly health: (node: Node, signal: AbortSignal) => Promise<number>;
};

/** See {@link Nodes}. */
export function createNodes({ breaker, health }: NodesDeps): Nodes {
  const looks = createSingleFlight<undefined>();

  /** One looks for all who come meanwhile. */
  const look = (node: Node, signal: AbortSignal): Promise<undefined> =>
    looks.run(keyOf(node), signal, async (either) => {
      try {
        const trouble = healthTrouble(await health(node, either), node.address);
        if (trouble !== undefined) throw trouble;
        breaker.worked(keyOf(node));
        return undefined;
      } catch (thrown) {
        either.throwIfAborted();
        const error = asUnsent(toSecretError(thrown));
        breaker.failed(keyOf(node), error);
        throw error;
      }
    });

  const learn = (node: Node, error: SecretError): SecretError => {
    if (error.kind !== 'outage') return error;
    if (error.unsent) breaker.failed(keyOf(node), error);
    // A lost reply can be the fault of what was asked: a slow database. So one looks, before others are turned away.
    else breaker.doubt(keyOf(node));
    return error;
  };

  return {
    async ask(node, signal, send) {
      const state = breaker.stateOf(keyOf(node));
      if (state.kind === 'left alone') throw state.error;
      if (state.kind === 'doubtful') await look(node, signal);
      const answer = await send(node.address).catch((thrown: unknown) => {
        throw learn(node, toSecretError(thrown));
      });
      const trouble = answer.status < 400 ? undefined : nodeTrouble(readFault(answer), node.address);
      if (trouble !== undefined) throw learn(node, trouble);
      breaker.worked(keyOf(node));
      return answer;
    },
    restMs(node) {
      const state = breaker.stateOf(keyOf(node));
      // Timers drop fractions and can fire a millisecond early: whoever comes back too soon has lost an attempt.
      return state.kind === 'left alone' ? Math.ceil(state.forMs) + 1 : 0;
    },
  };
}

function keyOf({ login, address }: Node): string {
  return JSON.stringify([address, Object.entries(login.tls).sort()]);
}

/** Of a look: the call itself has not been sent. */
function asUnsent({ code, message, hint }: SecretError): SecretError {
  return new SecretError(code, message, { unsent: true, ...(hint !== undefined && { hint }) });
}
