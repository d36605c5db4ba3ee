import { runAsKeyferry } from '../../../concurrency/caller.ts';
import type { CircuitBreaker } from '../../../concurrency/circuit-breaker.ts';
import { SingleFlight } from '../../../concurrency/single-flight.ts';
import { type SecretError, toSecretError } from '../../../core/errors.ts';
import type { HttpResponse } from '../../../http/client.ts';
import { classify, isKnownError } from '../../shared/reads/store-errors.ts';
import { healthErrors, nodeErrors, parseErrorResponse } from '../errors.ts';
import type { VaultLogin } from '../types.ts';

/**
 * A node as a login reaches it. The TLS settings are part of it: a wrong CA in one class must not
 * open the circuit breaker for another class.
 */
export type Node = { readonly login: Pick<VaultLogin, 'tls'>; readonly address: string };

/** See {@link Nodes}. */
export type NodesOptions = {
  readonly breaker: CircuitBreaker;
  /** Returns the status of `GET sys/health`. @throws SecretError */
  readonly health: (node: Node, signal: AbortSignal) => Promise<number>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** Sends requests to single nodes, and skips a node that failed lately. */
export class Nodes {
  readonly #breaker: CircuitBreaker;
  readonly #health: NodesOptions['health'];
  readonly #now: () => number;
  readonly #inFlightHealthChecks = new SingleFlight<undefined>();

  constructor({ breaker, health, now }: NodesOptions) {
    this.#breaker = breaker;
    this.#health = health;
    this.#now = now;
  }

  /**
   * Sends a request to one node. Where the circuit breaker is open it fails at once. Where it is
   * half-open a health check comes first.
   * @throws SecretError of an outage, `unsent` where the node has not processed the request; what
   *   `send` throws; the signal's reason
   */
  async request(
    node: Node,
    signal: AbortSignal,
    send: (address: string) => Promise<HttpResponse>,
  ): Promise<HttpResponse> {
    const state = this.#breaker.stateOf(keyOf(node));
    if (state.kind === 'open') throw state.error;
    if (state.kind === 'half-open') await this.#checkHealth(node, signal);
    const response = await send(node.address).catch((thrown: unknown) => {
      throw this.#recordFailure(node, toSecretError(thrown));
    });
    const nodeError = nodeErrorOf(response, node, this.#now());
    if (nodeError !== undefined) throw this.#recordFailure(node, nodeError);
    this.#breaker.recordSuccess(keyOf(node));
    return response;
  }

  /** How long the circuit breaker of a node stays open, in milliseconds; 0 where it is not open. */
  cooldownMs(node: Node): number {
    const state = this.#breaker.stateOf(keyOf(node));
    // Timers drop fractions and can fire a millisecond early. A retry that is too early fails.
    return state.kind === 'open' ? Math.ceil(state.retryAfterMs) + 1 : 0;
  }

  /** Runs one health check for all concurrent callers. */
  #checkHealth(node: Node, signal: AbortSignal): Promise<undefined> {
    return this.#inFlightHealthChecks.run(keyOf(node), signal, async (checkSignal) => {
      try {
        // One namespace's slow reads must not delay the check that all namespaces wait for.
        const status = await runAsKeyferry(() => this.#health(node, checkSignal));
        checkHealthStatus(status, node);
        this.#breaker.recordSuccess(keyOf(node));
        return undefined;
      } catch (thrown) {
        checkSignal.throwIfAborted();
        // The call itself has not been sent.
        const error = toSecretError(thrown).with({ unsent: true });
        this.#breaker.recordFailure(keyOf(node), error);
        throw error;
      }
    });
  }

  #recordFailure(node: Node, error: SecretError): SecretError {
    if (error.kind !== 'outage') return error;
    if (error.unsent) this.#breaker.recordFailure(keyOf(node), error);
    // A lost response can have its cause in the request: a slow database. So a health check decides
    // before other requests fail.
    else this.#breaker.markHalfOpen(keyOf(node));
    return error;
  }
}

function keyOf({ login, address }: Node): string {
  return JSON.stringify([address, Object.entries(login.tls).sort()]);
}

/**
 * @param status of the response to `GET sys/health`
 * @throws SecretError where the node serves no request
 */
export function checkHealthStatus(status: number, node: Node): void {
  const response = { status, code: undefined, text: '', requestId: undefined };
  if (isKnownError(healthErrors, response)) throw classify(healthErrors, response, node, []);
}

function nodeErrorOf(response: HttpResponse, node: Node, now: number): SecretError | undefined {
  if (response.status < 400) return undefined;
  // Without the pause that a proxy requests: another node may serve at once, and the circuit
  // breaker has a cooldown of its own.
  const errorResponse = { ...parseErrorResponse(response, now), retryAfterMs: undefined };
  return isKnownError(nodeErrors, errorResponse)
    ? classify(nodeErrors, errorResponse, node, [])
    : undefined;
}
