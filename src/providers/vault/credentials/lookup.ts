import * as z from 'zod';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { Redacted } from '../../../core/redacted.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import type { VaultApi } from '../call/api.ts';
import { describeIdentity, productName } from '../describe.ts';
import type { VaultLogin } from '../types.ts';
import type { LoginResult } from './login.ts';

/** What Vault says of a token. */
export type TokenFacts = {
  /** Seconds that it has left; 0: it has no end. */
  readonly ttl: number;
  readonly renewable: boolean;
  readonly type: string;
  /** For how many more calls it is valid; 0: any number. */
  readonly uses: number;
  readonly policies: readonly string[];
};

const schema = z.object({
  data: z.object({
    ttl: z.number().nonnegative(),
    renewable: z.boolean().nullish(),
    type: z.string().nullish(),
    num_uses: z.number().nonnegative().nullish(),
    policies: z.array(z.string()).nullish(),
  }),
});

/**
 * Looks up a token by itself. Vault's policy `default` allows that.
 * @throws SecretError CREDENTIALS_REFUSED; ACCESS_DENIED where no policy of it allows that
 */
export async function lookUpToken(
  { api }: { readonly api: VaultApi },
  login: VaultLogin,
  token: Redacted,
  signal: AbortSignal,
): Promise<TokenFacts> {
  const path = 'auth/token/lookup-self';
  const response = await api.call({ login, token, method: 'GET', path, signal, mayIssue: false });
  const parsed = schema.safeParse(response.json());
  if (!parsed.success)
    throw new SecretError(
      'STORE_ANSWER_INVALID',
      `${productName(login)} sent a response to a lookup of ${describeIdentity({ login })} that Keyferry does not understand`,
      { hint: `check that the address is that of ${productName(login)}` },
    );
  const { ttl, renewable, type, num_uses: uses, policies } = parsed.data.data;
  return {
    ttl,
    renewable: renewable === true,
    type: type ?? 'service',
    uses: uses ?? 0,
    policies: policies ?? [],
  };
}

/**
 * Looks up a token that was given to Keyferry, in place of a login. A token that may not look
 * itself up counts as one without an end that cannot be renewed. After a refusal the same token is
 * not used again for a while.
 * @throws SecretError CREDENTIALS_REFUSED; an outage; the signal's reason
 */
export async function lookUpGivenToken(
  {
    now,
    ...deps
  }: {
    readonly api: VaultApi;
    readonly credentialGate: CredentialGate;
    readonly now: () => number;
  },
  login: VaultLogin,
  token: Redacted,
  signal: AbortSignal,
): Promise<LoginResult> {
  const { addresses, namespace } = login;
  const gateKey = digestOf(addresses.join(' '), namespace, token.reveal());
  const sentAt = now();
  try {
    const { ttl, renewable, type, uses } = await deps.credentialGate.run(gateKey, signal, () =>
      lookUpToken(deps, login, token, signal),
    );
    return {
      token,
      expiresAt: ttl === 0 ? Infinity : sentAt + ttl * 1_000,
      renewable,
      isBatch: type === 'batch',
      uses: uses === 0 ? Infinity : uses,
    };
  } catch (thrown) {
    if (toSecretError(thrown).code !== 'ACCESS_DENIED') throw thrown;
    return { token, expiresAt: Infinity, renewable: false, isBatch: false, uses: Infinity };
  }
}
