import { LRUCache } from 'lru-cache';
import * as z from 'zod';
import { Redacted } from '../core/redacted.ts';
import { SecretError } from '../core/errors.ts';
import { sanitizeExternalText } from '../core/safe-text.ts';
import { SingleFlight } from '../concurrency/single-flight.ts';
import type { KubeApi } from './api.ts';

/** What is asked for, as the driver asks for its own; the API server may shorten it, and takes nothing below ten minutes. */
const lifeSeconds = 3_600;
/** Of its life a token is kept: what then remains is enough for whoever it is shown to. */
const reuseFraction = 0.8;
/** Pods of a node, and audiences of each. */
const maxCachedTokens = 1_000;

/** Whose token, and who is to take it. */
export type TokenRequestOptions = {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The token ends with this very pod. */
  readonly pod: { readonly name: string; readonly uid: string };
  readonly audience: string;
  readonly signal: AbortSignal;
};

/** Tokens of pods' ServiceAccounts, made by the API server (TokenRequest). */
export type TokenRequests = {
  /**
   * The token kept, or a new one: one question for all who ask meanwhile.
   * @throws SecretError NOT_GRANTED where account or pod do not exist; ADMISSION_UNAVAILABLE or NOT_CONFIGURED where nobody gives one; the
   *   signal's reason when it fires. No failure is remembered.
   */
  get(options: TokenRequestOptions): Promise<Redacted>;
};

type CachedToken = { readonly token: Redacted; readonly reuseUntil: number };

const schema = z.object({
  status: z.object({
    token: z.string().min(1),
    expirationTimestamp: z.iso.datetime({ offset: true }),
  }),
});

/** See {@link TokenRequests}. */
export function createTokenRequests({
  api,
  now,
}: {
  api: KubeApi;
  now: () => number;
}): TokenRequests {
  const cache = new LRUCache<string, CachedToken>({ max: maxCachedTokens });
  const singleFlight = new SingleFlight<Redacted>();

  return {
    async get(question) {
      const { namespace, serviceAccount, pod, audience, signal } = question;
      signal.throwIfAborted();
      const key = JSON.stringify([namespace, serviceAccount, pod.uid, audience]);
      const cached = cache.get(key);
      if (cached !== undefined && now() < cached.reuseUntil) return cached.token;
      return singleFlight.run(key, signal, async (sharedSignal) => {
        const requestedAt = now();
        const { token, expiresAt } = await createToken(api, { ...question, signal: sharedSignal });
        const life = Math.min(expiresAt - requestedAt, lifeSeconds * 1_000);
        cache.set(key, { token, reuseUntil: requestedAt + reuseFraction * life });
        return token;
      });
    },
  };
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
      expirationSeconds: lifeSeconds,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.name, uid: pod.uid },
    },
  };
  try {
    const { status } = schema.parse(await api.post(path, request, signal));
    return { token: new Redacted(status.token), expiresAt: Date.parse(status.expirationTimestamp) };
  } catch (thrown) {
    signal.throwIfAborted();
    throw toTokenError(
      `a token of ServiceAccount ${sanitizeExternalText(namespace)}/${sanitizeExternalText(serviceAccount)}`,
      thrown,
    );
  }
}

function toTokenError(what: string, thrown: unknown): SecretError {
  if (!(thrown instanceof SecretError))
    return new SecretError('ADMISSION_UNAVAILABLE', `${what} cannot be had: what came is no token`);
  const { code, message, hint } = thrown;
  if (code === 'OBJECT_NOT_FOUND')
    return new SecretError('NOT_GRANTED', `${what} cannot be had: ${message}`);
  if (code === 'ACCESS_DENIED')
    return new SecretError('ADMISSION_UNAVAILABLE', `Keyferry may not create ${what}: ${message}`, {
      hint: 'give its ClusterRole the verb create for serviceaccounts/token in the API group "", or bring tokens by tokenRequests',
    });
  return new SecretError(
    code,
    `${what} cannot be had: ${message}`,
    hint === undefined ? {} : { hint },
  );
}
