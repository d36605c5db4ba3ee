import { toSecretError } from '../../../errors/secret-error.ts';
import type { VaultAnswer, VaultApi } from '../api.ts';
import type { HeldToken } from './held-token.ts';
import { readAuth } from './log-in.ts';

/** What a token may ask for itself. */
export type SelfCalls = {
  /** Finds, too, where renewals help no more, or where the token is none any more. @throws SecretError */
  renew(token: HeldToken, signal: AbortSignal): Promise<void>;
  /** With it ends all that depends on it. @throws SecretError */
  revoke(token: HeldToken, signal: AbortSignal): Promise<void>;
};

/** `now` is in milliseconds since the epoch. */
export function createSelfCalls({
  api,
  now,
}: {
  readonly api: VaultApi;
  readonly now: () => number;
}): SelfCalls {
  const ask = (
    { session: { login, token } }: HeldToken,
    what: string,
    signal: AbortSignal,
  ): Promise<VaultAnswer> =>
    api.call({
      ...{ login, token, method: 'POST', path: `auth/token/${what}`, body: '{}', signal },
      issues: false,
      accept: [400],
    });

  return {
    async renew(token, signal) {
      const askedAt = now();
      try {
        const answer = await ask(token, 'renew-self', signal);
        if (answer.status === 400) token.isLast = true;
        else token.prolong(askedAt, readAuth(answer, token.session.login).lease_duration * 1_000);
      } catch (thrown) {
        const { code } = toSecretError(thrown);
        if (code === 'ACCESS_DENIED') token.isLast = true;
        if (code === 'CREDENTIALS_REFUSED') token.prolong(askedAt, 0);
        throw thrown;
      }
    },
    async revoke(token, signal) {
      await ask(token, 'revoke-self', signal);
    },
  };
}
