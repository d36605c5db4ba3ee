import { LRUCache } from 'lru-cache';
import * as z from 'zod';
import { Redacted } from '../core/redacted.ts';
import { SecretError } from '../core/errors.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import { SingleFlight } from '../concurrency/single-flight.ts';
import type { KubeApi } from './api.ts';

/**
 * The requested lifetime, as the driver requests it. The API server may shorten it, and accepts at
 * least ten minutes.
 */
const lifetimeSeconds = 3_600;
/** The fraction of its lifetime in which a token is reused. The rest suffices for its recipient. */
const reuseFraction = 0.8;
/** The limit of cached tokens: one for each pod of the node and audience. */
const maxCachedTokens = 1_000;

/** The account of a token, its pod and its audience. */
export type TokenRequestOptions = {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The token becomes invalid when this pod is deleted. */
  readonly pod: { readonly name: string; readonly uid: string };
  readonly audience: string;
  readonly signal: AbortSignal;
};

type CachedToken = { readonly token: Redacted; readonly reuseUntil: number };

const schema = z.object({
  status: z.object({
    token: z.string().min(1),
    expirationTimestamp: z.iso.datetime({ offset: true }),
  }),
});

/** Options of {@link TokenRequests}. */
export type TokenRequestsDeps = {
  readonly api: KubeApi;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** Creates tokens of the ServiceAccounts of pods with the TokenRequest API. */
export class TokenRequests {
  readonly #deps: TokenRequestsDeps;
  readonly #cache = new LRUCache<string, CachedToken>({ max: maxCachedTokens });
  readonly #singleFlight = new SingleFlight<Redacted>();

  constructor(deps: TokenRequestsDeps) {
    this.#deps = deps;
  }

  /**
   * A cached token, or a new one. Concurrent callers share one request.
   * @throws SecretError NOT_GRANTED if the account or the pod does not exist; ADMISSION_UNAVAILABLE
   *   or NOT_CONFIGURED if no token can be created; the reason of the signal when it fires. No
   *   failure is cached.
   */
  async get(options: TokenRequestOptions): Promise<Redacted> {
    const { api, now } = this.#deps;
    const { namespace, serviceAccount, pod, audience, signal } = options;
    signal.throwIfAborted();
    const key = JSON.stringify([namespace, serviceAccount, pod.uid, audience]);
    const cached = this.#cache.get(key);
    if (cached !== undefined && now() < cached.reuseUntil) return cached.token;
    return this.#singleFlight.run(key, signal, async (sharedSignal) => {
      const requestedAt = now();
      const { token, expiresAt } = await createToken(api, { ...options, signal: sharedSignal });
      const lifetimeMs = Math.min(expiresAt - requestedAt, lifetimeSeconds * 1_000);
      this.#cache.set(key, { token, reuseUntil: requestedAt + reuseFraction * lifetimeMs });
      return token;
    });
  }
}

async function createToken(
  api: KubeApi,
  { namespace, serviceAccount, pod, audience, signal }: TokenRequestOptions,
): Promise<{ readonly token: Redacted; readonly expiresAt: number }> {
  const path = ['api', 'v1', 'namespaces', namespace, 'serviceaccounts', serviceAccount, 'token'];
  const request = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {
      audiences: [audience],
      expirationSeconds: lifetimeSeconds,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.name, uid: pod.uid },
    },
  };
  try {
    const { status } = schema.parse(await api.post(path, request, signal));
    return { token: new Redacted(status.token), expiresAt: Date.parse(status.expirationTimestamp) };
  } catch (thrown) {
    signal.throwIfAborted();
    throw toTokenError(
      `a token of ServiceAccount ${sanitizeUserText(namespace)}/${sanitizeUserText(serviceAccount)}`,
      thrown,
    );
  }
}

function toTokenError(what: string, thrown: unknown): SecretError {
  if (!(thrown instanceof SecretError))
    return new SecretError(
      'ADMISSION_UNAVAILABLE',
      `${what} cannot be created: the response is not a token`,
    );
  const { code, message, hint } = thrown;
  if (code === 'OBJECT_NOT_FOUND')
    return new SecretError('NOT_GRANTED', `${what} cannot be created: ${message}`);
  if (code === 'ACCESS_DENIED')
    return new SecretError('ADMISSION_UNAVAILABLE', `Keyferry may not create ${what}: ${message}`, {
      hint: 'give its ClusterRole the verb create for serviceaccounts/token in the API group "", or let the driver send tokens: CSIDriver spec.tokenRequests',
    });
  return new SecretError(
    code,
    `${what} cannot be created: ${message}`,
    hint === undefined ? {} : { hint },
  );
}
