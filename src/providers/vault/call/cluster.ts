import { LRUCache } from 'lru-cache';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { HttpResponse } from '../../../http/client.ts';
import type { VaultLogin } from '../types.ts';
import type { Nodes } from './nodes.ts';

/**
 * Finds the address that a standby node redirects to. The request repeats the token, so the address
 * must be one of the login's own. The path of the redirect is ignored: the request stays the same.
 * @param options.secrets those of the request; no message may have them
 * @returns the address
 * @throws SecretError STORE_ANSWER_INVALID
 */
export function followRedirect(
  location: string | undefined,
  {
    from,
    addresses,
    secrets,
  }: {
    readonly from: string;
    readonly addresses: readonly string[];
    readonly secrets: readonly string[];
  },
): string {
  const throwInvalid = (reason: string, hint?: string): never => {
    throw new SecretError('STORE_ANSWER_INVALID', `${from} redirects ${reason}`, {
      // A node that redirects a request does not process it.
      unsent: true,
      ...(hint !== undefined && { hint }),
    });
  };
  if (location === undefined || !URL.canParse(location)) return throwInvalid('to nowhere');
  const to = new URL(location);
  // A URL has its host in lower case.
  const target = sanitizeExternalText(
    to.origin === 'null' ? to.protocol : to.origin,
    secrets.flatMap((secret) => [secret, secret.toLowerCase()]),
  );
  if (from.startsWith('https:') && to.protocol !== 'https:')
    return throwInvalid(`from https to ${target}`);
  const isAtTarget = (address: string): boolean =>
    !address.startsWith('unix:') && new URL(address).origin === to.origin;
  const address = addresses.find(isAtTarget);
  if (address === undefined)
    return throwInvalid(
      `to ${target}, which is not among the addresses`,
      'list the address of every node as it calls itself (api_addr), or let standby nodes forward',
    );
  return address;
}

/** The part of a call that the cluster needs; as in `VaultCall`. */
export type ClusterCall = {
  readonly login: VaultLogin;
  readonly mayIssue: boolean;
  readonly secrets: readonly string[];
  readonly signal: AbortSignal;
};

/** A response, whatever its status, and the address of the node that sent it. */
export type NodeResponse = { readonly response: HttpResponse; readonly address: string };

/** Gets the addresses of the node that responded the time before and of the one that does now. */
type OnFailover = (
  login: VaultLogin,
  addresses: { readonly from: string; readonly to: string },
) => void;

/** For how many clusters the address of the last response is remembered. */
const maxClusters = 1_000;

/** Sends requests to the nodes of a login, and fails over between them. */
export class Cluster {
  readonly #nodes: Nodes;
  readonly #onFailover: OnFailover | undefined;
  readonly #lastAddresses = new LRUCache<string, string>({ max: maxClusters });

  /**
   * @param options.onFailover runs when another node responds than the time before, or at the first
   *   time another one than the first address
   */
  constructor({ nodes, onFailover }: { readonly nodes: Nodes; readonly onFailover?: OnFailover }) {
    this.#nodes = nodes;
    this.#onFailover = onFailover;
  }

  /**
   * Sends a request to one node after the other until one responds. The node that responded last is
   * the first, then all come in their order. It follows one redirect.
   * @throws SecretError of an outage: of all nodes, `unsent` where none has processed the request;
   *   of the first node that may have processed it, where the call may issue something; what `send`
   *   throws besides; the signal's reason
   */
  async request(
    call: ClusterCall,
    send: (address: string) => Promise<HttpResponse>,
  ): Promise<NodeResponse> {
    const { login, mayIssue, signal } = call;
    const failures: SecretError[] = [];
    for (const address of new Set([this.#lastAddressOf(login), ...login.addresses])) {
      try {
        const response = await this.#requestFrom(call, address, send);
        this.#recordAddress(login, response.address);
        return response;
      } catch (thrown) {
        signal.throwIfAborted();
        const error = toSecretError(thrown);
        if (error.kind !== 'outage' || (mayIssue && !error.unsent)) throw error;
        failures.push(error);
      }
    }
    throw combineErrors(failures);
  }

  /**
   * How long the circuit breakers of all nodes stay open, in milliseconds; 0 where one of them is
   * not open.
   */
  cooldownMs(login: VaultLogin): number {
    return Math.min(
      ...login.addresses.map((address) => this.#nodes.cooldownMs({ login, address })),
    );
  }

  #lastAddressOf(login: VaultLogin): string {
    return this.#lastAddresses.get(keyOf(login)) ?? login.addresses[0] ?? 'nowhere';
  }

  #recordAddress(login: VaultLogin, address: string): void {
    const lastAddress = this.#lastAddressOf(login);
    if (address !== lastAddress) this.#onFailover?.(login, { from: lastAddress, to: address });
    this.#lastAddresses.set(keyOf(login), address);
  }

  async #requestFrom(
    { login, secrets, signal }: ClusterCall,
    address: string,
    send: (address: string) => Promise<HttpResponse>,
  ): Promise<NodeResponse> {
    const response = await this.#nodes.request({ login, address }, signal, send);
    if (!isRedirect(response)) return { response, address };
    const { addresses } = login;
    const next = followRedirect(response.headers.location, { from: address, addresses, secrets });
    const redirected = await this.#nodes.request({ login, address: next }, signal, send);
    if (!isRedirect(redirected)) return { response: redirected, address: next };
    throw new SecretError(
      'STORE_UNAVAILABLE',
      `${address} redirects to ${next}, which redirects again`,
      {
        hint: 'the cluster is choosing an active node, or its nodes take each other for it',
        unsent: true,
      },
    );
  }
}

function keyOf({ addresses, tls }: VaultLogin): string {
  return JSON.stringify([addresses, Object.entries(tls).sort()]);
}

/**
 * A standby node redirects by 307. Another redirect comes from a proxy and is not a response of
 * Vault.
 */
function isRedirect({ status }: HttpResponse): boolean {
  return status === 307;
}

/** The error where no address serves. */
export function combineErrors(failures: readonly SecretError[]): SecretError {
  const [first] = failures;
  if (first === undefined || failures.length === 1)
    return first ?? new SecretError('NOT_CONFIGURED', 'the login has no address of Vault');
  const hint = failures.find((failure) => failure.hint !== undefined)?.hint;
  return new SecretError(
    failures.every(({ code }) => code === first.code) ? first.code : 'STORE_UNAVAILABLE',
    `none of ${failures.length} addresses serves: ${failures.map(({ message }) => message).join('; ')}`,
    { unsent: failures.every(({ unsent }) => unsent), ...(hint !== undefined && { hint }) },
  );
}
