import { SecretError, toSecretError } from '../errors/secret-error.ts';
import type { FetchRequest, FetchResult, Provider } from '../providers/provider.ts';

/** Puts a question to a provider. Never rejects. */
export type Batcher = (provider: Provider, request: FetchRequest) => Promise<FetchResult>;

/**
 * Gathers the questions of one turn of the event loop into one `fetch` a provider, so that a store with batches sees a mount's refs
 * together, and turns whatever a provider throws into a `failed` result.
 */
export function createBatcher(): Batcher {
  type Question = { readonly request: FetchRequest; readonly answer: (result: FetchResult) => void };
  const waiting = new Map<Provider, Question[]>();

  const flush = (provider: Provider): void => {
    const questions = waiting.get(provider) ?? [];
    waiting.delete(provider);
    const failed = (error: SecretError): FetchResult => ({ kind: 'failed', error });
    try {
      const results = provider.fetch(questions.map(({ request }) => request));
      questions.forEach(({ answer }, index) => {
        const result = results[index] ?? Promise.resolve(failed(unanswered(provider)));
        result.then(answer, (thrown: unknown) => answer(failed(toSecretError(thrown))));
      });
    } catch (thrown) {
      for (const { answer } of questions) answer(failed(toSecretError(thrown)));
    }
  };

  return (provider, request) =>
    new Promise((answer) => {
      const questions = waiting.get(provider);
      if (questions === undefined) {
        waiting.set(provider, [{ request, answer }]);
        queueMicrotask(() => flush(provider));
      } else {
        questions.push({ request, answer });
      }
    });
}

function unanswered(provider: Provider): SecretError {
  return new SecretError('INTERNAL', `provider ${provider.name} left a question unanswered`);
}
