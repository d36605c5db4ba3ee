import type { Redacted } from '../../errors/redacted.ts';
import type { JsonValue } from '../../plan/json-text.ts';
import type { VaultLogin } from './login.ts';

/** One question to Vault. */
export type VaultCall = {
  readonly login: VaultLogin;
  readonly token?: Redacted;
  /** `LIST` goes as a GET with `list=true`. */
  readonly method: string;
  /** Below `v1/`, percent-encoded already, with its query: `secret/data/app?version=3`. */
  readonly path: string;
  /** JSON. */
  readonly body?: string;
  readonly signal: AbortSignal;
  /** It may issue something (a token, a lease, a certificate): never sent again unless it is sure that nobody has seen it. */
  readonly issues: boolean;
  /** Instead of the login's; the empty text: none. */
  readonly namespace?: string;
  /** Statuses below 500 that are returned too, for the caller to judge: `[400]`. */
  readonly accept?: readonly number[];
};

/** What Vault answered: 200 to 299, 404, or a status the call accepts. */
export type VaultAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Which of the login's addresses answered. */
  readonly address: string;
  /** The body, every number as it stood. @throws SecretError STORE_ANSWER_INVALID */
  json(): JsonValue;
};

/** See {@link createVaultApi}. */
export type VaultApi = {
  /**
   * Asks the addresses of the login, by turns where that helps.
   * @throws SecretError, its text naming path, role, mount and namespace and never a token:
   *   CREDENTIALS_REFUSED (403: the token itself is bad: expired, revoked, over its max TTL), ACCESS_DENIED (403: its policies),
   *   STORE_REFUSED_REQUEST (other 4xx), STORE_UNAVAILABLE (nobody there, sealed, 5xx), STORE_TIMEOUT, STORE_THROTTLED (429),
   *   STORE_ANSWER_INVALID (no Vault; a redirect that is not followed), STORE_ANSWER_TOO_LARGE, NOT_CONFIGURED (TLS files),
   *   INVALID_CLASS (a path that is none); the signal's reason
   */
  call(call: VaultCall): Promise<VaultAnswer>;
};
