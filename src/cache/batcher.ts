import { SecretError, toSecretError } from '../core/errors.ts';
import type { FetchRequest, FetchResult, Provider } from '../core/provider.ts';

/** Sends one request to a provider. Never rejects. */
export type Batcher = (provider: Provider, request: FetchRequest) => Promise<FetchResult>;

/**
 * Collects the requests that come before the next microtask into one `fetch` per provider, so that
 * a store with batches gets all refs of a mount together. An exception of a provider becomes a
 * `failed` result.
 */
export function createBatcher(): Batcher {
  type PendingRead = {
    readonly request: FetchRequest;
    readonly resolve: (result: FetchResult) => void;
  };
  const pendingByProvider = new Map<Provider, PendingRead[]>();

  const flush = (provider: Provider): void => {
    const pending = pendingByProvider.get(provider) ?? [];
    pendingByProvider.delete(provider);
    const failed = (error: SecretError): FetchResult => ({ kind: 'failed', error });
    try {
      const results = provider.fetch(pending.map(({ request }) => request));
      pending.forEach(({ resolve }, index) => {
        const result = results[index] ?? Promise.resolve(failed(missingResultError(provider)));
        result.then(resolve, (thrown: unknown) => resolve(failed(toSecretError(thrown))));
      });
    } catch (thrown) {
      for (const { resolve } of pending) resolve(failed(toSecretError(thrown)));
    }
  };

  return (provider, request) =>
    new Promise((resolve) => {
      const pending = pendingByProvider.get(provider);
      if (pending === undefined) {
        pendingByProvider.set(provider, [{ request, resolve }]);
        queueMicrotask(() => flush(provider));
      } else {
        pending.push({ request, resolve });
      }
    });
}

function missingResultError(provider: Provider): SecretError {
  return new SecretError('INTERNAL', `provider ${provider.name} returned no result for a request`);
}
