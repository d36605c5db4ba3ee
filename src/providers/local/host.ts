import { SecretError } from '../../core/errors.ts';
import type { HostStore } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { checkSecretName } from './class.ts';
import { createFetch } from './fetch.ts';
import { StorePrincipal, type StorePrincipalOptions } from './principals.ts';
import type { StorePaths } from './store/encrypted-store.ts';
import { StoreReader } from './store/reader.ts';

/** Opens a local store for a host without Kubernetes. It reads no file before the first use. */
export function createLocalHostStore(
  deps: StorePaths & Omit<StorePrincipalOptions, 'reader'>,
): HostStore<undefined> {
  const reader = new StoreReader(deps);
  const storePrincipal = new StorePrincipal({ ...deps, reader });
  return {
    refFor(path) {
      const fault = checkSecretName(path);
      if (fault === undefined) return { service: 'local', name: path };
      throw new SecretError('INVALID_CLASS', `the name ${sanitizeUserText(path)} ${fault}`, {
        hint: 'see the names of the store with keyferry local list',
      });
    },
    principal: () => storePrincipal.get(),
    fetch: createFetch(reader),
    async check() {
      await reader.read();
    },
    async list() {
      return [...(await reader.read())].flatMap(([path, { versions }]) => {
        const latest = versions.at(-1);
        if (latest === undefined) return [];
        return [{ path, version: latest.version, changedAt: Date.parse(latest.created) }];
      });
    },
  };
}
