import { SecretError } from '../../errors/secret-error.ts';
import type { Fault } from './fault.ts';

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
