import type { Logger } from 'pino';
import type { Principal } from '../../core/provider.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { StoreReader } from './store/reader.ts';

/**
 * How long a principal stays without a check. Within it, a mount of cached secrets opens no file.
 */
const principalCacheMs = 1_000;

/** See {@link StorePrincipal}. */
export type StorePrincipalOptions = {
  readonly reader: Pick<StoreReader, 'identify'>;
  readonly fingerprint: Fingerprint;
  /** Milliseconds. */
  readonly now: () => number;
  readonly log: Logger;
};

/**
 * The principal of a local store. There is one, because the key of the store reads all secrets. So
 * it is a shared identity.
 *
 * Another file or another key at the same paths is another principal. While the files cannot be
 * read, the last principal stays. A read for it fails as an outage, in which cached values serve.
 */
export class StorePrincipal {
  readonly #options: StorePrincipalOptions;
  #cached: { readonly principal: Principal<undefined>; readonly at: number } | undefined;
  #hasWarned = false;

  constructor(options: StorePrincipalOptions) {
    this.#options = options;
  }

  /** @throws SecretError LOCAL_STORE_UNREADABLE if the files were never readable */
  async get(): Promise<Principal<undefined>> {
    const at = this.#options.now();
    // The absolute difference: the clock can go backwards.
    if (this.#cached !== undefined && Math.abs(at - this.#cached.at) < principalCacheMs)
      return this.#cached.principal;
    try {
      this.#cached = { principal: await this.#read(), at };
    } catch (thrown) {
      if (this.#cached === undefined) throw thrown;
    }
    return this.#cached.principal;
  }

  async #read(): Promise<Principal<undefined>> {
    const { reader, fingerprint } = this.#options;
    const { path, keyDigest, keyMode } = await reader.identify();
    this.#checkKeyMode(keyMode);
    return {
      fingerprint: fingerprint({ provider: 'local', store: path, key: keyDigest }),
      description: `local store ${sanitizeUserText(path)}`,
      kind: 'shared',
      credentials: async () => undefined,
    };
  }

  /** Warns once. */
  #checkKeyMode(keyMode: number): void {
    if ((keyMode & 0o077) === 0 || this.#hasWarned) return;
    this.#hasWarned = true;
    this.#options.log.warn(
      { mode: keyMode.toString(8) },
      'others than its owner may read the key of the local store; make its mode 0600',
    );
  }
}
