import { LRUCache } from 'lru-cache';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { HttpResponse } from '../../../http/client.ts';
import type { VaultLogin } from '../types.ts';
import type { Nodes } from './nodes.ts';

/**
 * Where a standby sends the caller: to another of the login's own addresses. The token goes there, so nobody else is followed; and what was asked is asked
 * there as it was, whatever path the redirect names.
 * @returns the address
 * @throws SecretError STORE_ANSWER_INVALID
 */
export function followRedirect(
  location: string | undefined,
  { from, addresses }: { readonly from: string; readonly addresses: readonly string[] },
): string {
  const throwInvalid = (reason: string, hint?: string): never => {
    throw new SecretError('STORE_ANSWER_INVALID', `${from} redirects ${reason}`, {
      // A redirect is sent instead of doing what was asked.
      unsent: true,
      ...(hint !== undefined && { hint }),
    });
  };
  if (location === undefined || !URL.canParse(location)) return throwInvalid('to nowhere');
  const to = new URL(location);
  const target = sanitizeExternalText(to.origin === 'null' ? to.protocol : to.origin);
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

/** The addresses of a login together. */
export type Cluster = {
  /**
   * Asks one node after the other until one answers: the one that answered last, then all in their order. A redirect is followed once.
   * @throws SecretError of an outage: of all nodes, `unsent` where none has done anything; of the first that may have, where the call issues;
   *   what `send` throws beside that; the signal's reason
   */
  request(
    call: ClusterCall,
    send: (address: string) => Promise<HttpResponse>,
  ): Promise<NodeResponse>;
  /** How long all of them are left alone, in milliseconds; 0: one of them may be asked. */
  cooldownMs(login: VaultLogin): number;
};

/** What there is to know of a call; as in `VaultCall`. */
export type ClusterCall = {
  readonly login: VaultLogin;
  readonly mayIssue: boolean;
  readonly signal: AbortSignal;
};

/** An answer, whatever its status, and whose it is. */
export type NodeResponse = { readonly response: HttpResponse; readonly address: string };

/** Clusters whose last node is remembered. */
const maxClusters = 1_000;

/** @param deps `onMove` is told when the node that answers is another than before, or not the first one */
export function createCluster(deps: {
  readonly nodes: Nodes;
  readonly onFailover?: (from: string, to: string) => void;
}): Cluster {
  const { nodes, onFailover } = deps;
  const lastAddresses = new LRUCache<string, string>({ max: maxClusters });

  const lastAddressOf = (login: VaultLogin): string =>
    lastAddresses.get(keyOf(login)) ?? login.addresses[0] ?? 'nowhere';

  const requestFrom = async (
    { login, signal }: ClusterCall,
    address: string,
    send: (address: string) => Promise<HttpResponse>,
  ): Promise<NodeResponse> => {
    const response = await nodes.request({ login, address }, signal, send);
    if (!isRedirect(response)) return { response, address };
    const { addresses } = login;
    const next = followRedirect(response.headers.location, { from: address, addresses });
    const redirected = await nodes.request({ login, address: next }, signal, send);
    if (!isRedirect(redirected)) return { response: redirected, address: next };
    throw new SecretError(
      'STORE_UNAVAILABLE',
      `${address} redirects to ${next}, which redirects again`,
      {
        hint: 'the cluster is choosing an active node, or its nodes take each other for it',
        unsent: true,
      },
    );
  };

  return {
    async request(call, send) {
      const { login, mayIssue, signal } = call;
      const failures: SecretError[] = [];
      for (const address of new Set([lastAddressOf(login), ...login.addresses])) {
        try {
          const response = await requestFrom(call, address, send);
          if (response.address !== lastAddressOf(login))
            onFailover?.(lastAddressOf(login), response.address);
          lastAddresses.set(keyOf(login), response.address);
          return response;
        } catch (thrown) {
          signal.throwIfAborted();
          const error = toSecretError(thrown);
          if (error.kind !== 'outage' || (mayIssue && !error.unsent)) throw error;
          failures.push(error);
        }
      }
      throw combineErrors(failures);
    },
    cooldownMs: (login) =>
      Math.min(...login.addresses.map((address) => nodes.cooldownMs({ login, address }))),
  };
}

function keyOf({ addresses, tls }: VaultLogin): string {
  return JSON.stringify([addresses, Object.entries(tls).sort()]);
}

/** Vault sends callers on with 307 alone; anything else of the kind is some proxy's, and no answer. */
function isRedirect({ status }: HttpResponse): boolean {
  return status === 307;
}

function combineErrors(failures: readonly SecretError[]): SecretError {
  const [first] = failures;
  if (first === undefined || failures.length === 1)
    return first ?? new SecretError('NOT_CONFIGURED', 'there is no address to ask');
  const hint = failures.find((failure) => failure.hint !== undefined)?.hint;
  return new SecretError(
    failures.every(({ code }) => code === first.code) ? first.code : 'STORE_UNAVAILABLE',
    `none of ${failures.length} addresses serves: ${failures.map(({ message }) => message).join('; ')}`,
    { unsent: failures.every(({ unsent }) => unsent), ...(hint !== undefined && { hint }) },
  );
}
