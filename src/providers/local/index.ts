import { existsSync } from 'node:fs';
import type { Logger } from 'pino';
import type { Provider } from '../../core/provider.ts';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAuthorize } from './authorize.ts';
import { type LocalLogin, planLocal } from './class.ts';
import { createFetch } from './fetch.ts';
import { StorePrincipal } from './principals.ts';
import type { StorePaths } from './store/encrypted-store.ts';
import { StoreReader } from './store/reader.ts';

/** What the local provider needs. */
export type LocalProviderDeps = StorePaths & {
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly fingerprint: Fingerprint;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
};

/**
 * Makes the provider `local`: secrets from one age-encrypted file on this node, for demos,
 * development and air-gapped nodes. It serves what the operator grants, and opens no file before
 * the first mount. It warns at once if there is no store. See docs/providers/local.md.
 */
export function createLocalProvider(
  deps: LocalProviderDeps,
): Provider<LocalLogin, undefined, undefined> {
  const { sharedIdentity, storeFile, log } = deps;
  if (!existsSync(storeFile))
    log.warn(
      { provider: 'local', storeFile },
      'there is no local store: make it with keyferry local init',
    );
  const reader = new StoreReader(deps);
  const storePrincipal = new StorePrincipal({ ...deps, reader });
  return {
    name: 'local',
    nodeFacts: async () => undefined,
    plan: planLocal,
    authorize: createAuthorize({ sharedIdentity, storePrincipal }),
    fetch: createFetch(reader),
  };
}
