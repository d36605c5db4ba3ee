import type { StoreType } from '../../core/host-store.ts';
import type { AgentInfo, SecretReader, StoreInfo } from '../agent-api.ts';
import { type Finding, failed, failedBy, fine, seeLog } from './findings.ts';

/**
 * Checks the stores of the host, all at once.
 * @param wanted names or types of stores; empty: all
 */
export async function checkStores(
  { stores }: Pick<AgentInfo, 'stores'>,
  wanted: readonly string[],
  agent: Pick<SecretReader, 'checkStore'>,
): Promise<readonly Finding[]> {
  if (stores.length === 0 && wanted.length === 0)
    return [failed('stores', 'the host has none', 'add one: sudo docker dso init --provider TYPE')];
  const known = (word: string) => stores.filter(({ name, type }) => name === word || type === word);
  const missing = wanted
    .filter((word) => known(word).length === 0)
    .map((word) =>
      failed(
        word,
        'the host has no such store',
        `add it: sudo docker dso init --provider ${word}, then sudo systemctl restart dso-agent`,
      ),
    );
  const chosen = wanted.length === 0 ? stores : [...new Set(wanted.flatMap(known))];
  return [...(await Promise.all(chosen.map((store) => checkStore(store, agent)))), ...missing];
}

async function checkStore(
  { name, type, authMethod }: StoreInfo,
  agent: Pick<SecretReader, 'checkStore'>,
): Promise<Finding> {
  try {
    const { steps = [] } = await agent.checkStore(name);
    const failure = steps.at(-1)?.failure;
    if (failure !== undefined) return failed(name, failure.message, failure.hint ?? seeLog);
  } catch (thrown) {
    return failedBy(name, thrown);
  }
  return fine(name, undefined, loginNote(type, authMethod));
}

/** Vault, and what has its interface. */
export function isVault(type: StoreType): boolean {
  return type === 'vault' || type === 'openbao';
}

/** How a login that works today can fail later. Undefined: no reason is known. */
export function loginNote(type: StoreType, method: string | undefined): string | undefined {
  const program = type === 'openbao' ? 'bao' : 'vault';
  return isVault(type) && method === 'approle'
    ? `the secret id can expire before the next login, which comes after token_max_ttl; see secret_id_ttl in: ${program} read auth/approle/role/ROLE`
    : undefined;
}
