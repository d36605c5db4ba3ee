import type { Logger } from 'pino';
import { quoteForeign } from '../../errors/status-text.ts';
import type { Fingerprint } from '../fingerprint.ts';
import type { Principal } from '../provider.ts';
import type { StoreReader } from './store-reader.ts';

/** How long the store's identity is taken for unchanged, in ms: a mount whose secrets are cached then opens no file. */
const rememberedForMs = 1_000;

/** See {@link createLocalPrincipal}. */
export type LocalPrincipal = () => Promise<Principal<undefined>>;

/**
 * The one principal of a local store: whoever holds its key reads all of it, so it is a shared identity. Another file or
 * another key behind the same paths is another principal. While they cannot be read it stays the last one known, for which
 * nothing new can be read either: an outage, in which last good values serve. Warns once when others than the owner may read the key.
 */
export function createLocalPrincipal({
  reader,
  fingerprint,
  now,
  log,
}: {
  readonly reader: StoreReader;
  readonly fingerprint: Fingerprint;
  readonly now: () => number;
  readonly log: Logger;
}): LocalPrincipal {
  let last: { readonly principal: Principal<undefined>; readonly at: number } | undefined;
  let warned = false;

  async function identify(): Promise<Principal<undefined>> {
    const { path, keyDigest, keyMode } = await reader.identify();
    if ((keyMode & 0o077) !== 0 && !warned) {
      const mode = keyMode.toString(8);
      log.warn({ mode }, 'others than its owner may read the key of the local store; make its mode 0600');
      warned = true;
    }
    return {
      fingerprint: fingerprint({ provider: 'local', store: path, key: keyDigest }),
      description: `local store ${quoteForeign(path)}`,
      identity: 'shared',
      credentials: async () => undefined,
    };
  }

  return async () => {
    const at = now();
    if (last !== undefined && Math.abs(at - last.at) < rememberedForMs) return last.principal;
    try {
      last = { principal: await identify(), at };
    } catch (thrown) {
      if (last === undefined) throw thrown;
    }
    return last.principal;
  };
}
