import { type ErrorCode, SecretError, toSecretError } from '../core/errors.ts';

/** What is told of a failure: the code (STORE_UNAVAILABLE unless said), what the other side did, and what to do about it. */
type FailureDescription = {
  readonly code?: ErrorCode;
  readonly text: string;
  readonly hint?: string;
  /** It happens before a request goes out, and at no other time. */
  readonly unsent?: true;
};

const unknownAuthority: FailureDescription = {
  unsent: true,
  text: 'shows a certificate of an unknown authority',
  hint: 'if it is your own, give its CA certificate with --ca-file',
};
const brokenConnection: FailureDescription = { text: 'broke the connection' };
const unreachable: FailureDescription = {
  text: 'cannot be reached',
  hint: 'check routes, firewalls and the proxy',
};

/** By the codes of Node, OpenSSL and undici. */
const failureDescriptions: Readonly<Record<string, FailureDescription>> = {
  ENOTFOUND: {
    unsent: true,
    text: 'is not known to DNS',
    hint: 'check the name and the DNS of the node',
  },
  EAI_AGAIN: {
    unsent: true,
    text: 'could not be looked up: DNS did not answer',
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
  EACCES: { unsent: true, text: 'lets nobody connect to its socket' },
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
  EPROTO: { text: 'does not speak TLS, or not as we do' },
  UND_ERR_HEADERS_OVERFLOW: { code: 'STORE_ANSWER_INVALID', text: 'sent too many headers' },
  UND_ERR_CLOSED: { code: 'SHUTTING_DOWN', text: 'is not asked any more: Keyferry stops' },
  UND_ERR_DESTROYED: { code: 'SHUTTING_DOWN', text: 'is not asked any more: Keyferry stops' },
};

/**
 * What was thrown below, as a SecretError that names who was asked and why it failed. The thrown error itself goes no
 * further, but for one we do not know: parsers put pieces of the answer into theirs.
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
    return { code: 'STORE_ANSWER_INVALID', text: 'answered something that is not HTTP' };
  if (/^(ERR_SSL_|ERR_TLS_|ERR_OSSL_)/.test(code))
    return { text: 'does not speak TLS, or not as we do' };
  // undici's only word of a proxy that will not let us through.
  const [, status] = /^Proxy response \((\d{3})\)/.exec(message) ?? [];
  if (status !== undefined) return { text: `cannot be reached: the proxy answered ${status}` };
  if (/^E[A-Z]+$/.test(code)) return { text: 'could not be asked' };
  return undefined;
}

/** Errors of Node's core are not always of this realm, so they are known by their shape. */
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
