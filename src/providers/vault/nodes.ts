import { SecretError, toSecretError } from '../../errors/secret-error.ts';
import type { Breaker } from '../../flow/breaker.ts';
import { createSingleFlight } from '../../flow/single-flight.ts';
import type { HttpAnswer } from '../../http/http.ts';
import { readFault } from './fault.ts';
import type { VaultLogin } from './login.ts';
import { healthTrouble, nodeTrouble } from './trouble.ts';

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
