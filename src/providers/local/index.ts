import type { Logger } from 'pino';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { Provider } from '../../core/provider.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createLocalAuthorize } from './authorize.ts';
import { createLocalFetch } from './principal.ts';
import { planLocal, type LocalLogin } from './class.ts';
import { createLocalPrincipal } from './principal.ts';
import type { StorePaths } from './store/encrypted-store.ts';
import { StoreReader } from './store/reader.ts';

/** What the local provider needs. Nothing is opened before the first mount. */
export type LocalProviderDeps = StorePaths & {
  readonly sharedIdentity: SharedIdentity;
  readonly fingerprint: Fingerprint;
  readonly now: () => number;
  readonly log: Logger;
};

/**
 * `provider: local`: secrets out of one age-encrypted file on this node, for demos, development and air-gapped nodes. It serves what
 * the operator granted; docs/providers/local.md.
 */
export function createLocalProvider(
  deps: LocalProviderDeps,
): Provider<LocalLogin, undefined, undefined> {
  const { sharedIdentity } = deps;
  const reader = new StoreReader(deps);
  return {
    name: 'local',
    nodeFacts: async () => undefined,
    plan: planLocal,
    authorize: createLocalAuthorize({
      sharedIdentity,
      principal: createLocalPrincipal({ ...deps, reader }),
    }),
    fetch: createLocalFetch(reader),
  };
}
