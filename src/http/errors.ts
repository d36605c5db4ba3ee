import { type ErrorCode, SecretError, toSecretError } from '../core/errors.ts';

/** How a failure is reported. */
type FailureDescription = {
  /** Default STORE_UNAVAILABLE. */
  readonly code?: ErrorCode;
  /** Follows the name of the host: `refused the connection`. */
  readonly text: string;
  readonly hint?: string;
  /** Set if it can only happen before the request is sent. */
  readonly unsent?: true;
};

const unknownAuthority: FailureDescription = {
  unsent: true,
  text: 'shows a certificate of an unknown authority',
  hint: 'if it is your own, give its CA certificate with --ca-file, or ca_file in dso.yaml',
};
const brokenConnection: FailureDescription = { text: 'broke the connection' };
const unreachable: FailureDescription = {
  text: 'cannot be reached',
  hint: 'check routes, firewalls and the proxy',
};

/** By the error codes of Node, OpenSSL and undici. */
const failureDescriptions: Readonly<Record<string, FailureDescription>> = {
  ENOTFOUND: {
    unsent: true,
    text: 'is not known to DNS',
    hint: 'check the name and the DNS of the node',
  },
  EAI_AGAIN: {
    unsent: true,
    text: 'could not be looked up: DNS did not respond',
    hint: 'check the DNS of the node',
  },
  ECONNREFUSED: { unsent: true, text: 'refused the connection' },
  ECONNRESET: brokenConnection,
  EPIPE: brokenConnection,
  UND_ERR_SOCKET: brokenConnection,
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: brokenConnection,
  EHOSTUNREACH: unreachable,
  ENETUNREACH: unreachable,
  ETIMEDOUT: { code: 'STORE_TIMEOUT', ...unreachable },
  UND_ERR_CONNECT_TIMEOUT: {
    code: 'STORE_TIMEOUT',
    ...unreachable,
    unsent: true,
    text: 'took no connection in time',
  },
  ENOENT: { unsent: true, text: 'has no socket there' },
  EACCES: { unsent: true, text: 'does not let this process connect to its socket' },
  CERT_HAS_EXPIRED: { unsent: true, text: 'shows a certificate that has expired' },
  CERT_NOT_YET_VALID: {
    unsent: true,
    text: 'shows a certificate that is not yet valid',
    hint: 'check the clock of the node',
  },
  ERR_TLS_CERT_ALTNAME_INVALID: { unsent: true, text: 'shows a certificate for another name' },
  UND_ERR_PRX_TLS: { unsent: true, text: 'shows a certificate for another name' },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownAuthority,
  SELF_SIGNED_CERT_IN_CHAIN: unknownAuthority,
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownAuthority,
  CERT_SIGNATURE_FAILURE: unknownAuthority,
  EPROTO: { text: 'does not speak TLS, or no version that Keyferry supports' },
  UND_ERR_HEADERS_OVERFLOW: { code: 'STORE_ANSWER_INVALID', text: 'sent too many headers' },
  UND_ERR_CLOSED: { code: 'SHUTTING_DOWN', text: 'gets no more requests: Keyferry stops' },
  UND_ERR_DESTROYED: { code: 'SHUTTING_DOWN', text: 'gets no more requests: Keyferry stops' },
};

/**
 * An error of a request as a SecretError with the host and the cause. It does not contain a known
 * error itself: parsers put parts of the response into theirs. An unknown error becomes its cause.
 * @param target host[:port], and the proxy where there is one; no path, no query
 */
export function toHttpError(thrown: unknown, target: string): SecretError {
  if (thrown instanceof SecretError) return thrown;
  const { name, code, message, syscall } = errorFieldsOf(thrown);
  const description = failureDescriptions[code] ?? describeByPattern(name, code, message);
  if (description === undefined) return toSecretError(thrown);
  const { text, hint, unsent = syscall === 'connect' } = description;
  return new SecretError(
    description.code ?? 'STORE_UNAVAILABLE',
    code === '' ? `${target} ${text}` : `${target} ${text} (${code})`,
    { unsent, ...(hint !== undefined && { hint }) },
  );
}

function describeByPattern(
  name: string,
  code: string,
  message: string,
): FailureDescription | undefined {
  if (name === 'HTTPParserError')
    return { code: 'STORE_ANSWER_INVALID', text: 'sent a response that is not HTTP' };
  if (/^(ERR_SSL_|ERR_TLS_|ERR_OSSL_)/.test(code))
    return { text: 'does not speak TLS, or no version that Keyferry supports' };
  // undici reports a proxy that refuses the tunnel only in this message.
  const [, status] = /^Proxy response \((\d{3})\)/.exec(message) ?? [];
  if (status !== undefined) return { text: `cannot be reached: the proxy responded ${status}` };
  if (/^E[A-Z]+$/.test(code)) return { text: 'cannot be reached' };
  return undefined;
}

/**
 * Reads the fields of any value: an error of Node's core may come from another realm, so
 * `instanceof` is not reliable.
 */
function errorFieldsOf(thrown: unknown): {
  name: string;
  code: string;
  message: string;
  syscall: string;
} {
  const fields = (thrown ?? {}) as Readonly<Record<string, unknown>>;
  const text = (field: unknown): string => (typeof field === 'string' ? field : '');
  const { name, code, message, syscall } = fields;
  return { name: text(name), code: text(code), message: text(message), syscall: text(syscall) };
}
