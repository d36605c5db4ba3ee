import type { HttpResponse } from '../../http/client.ts';
import { retryAfterOf } from '../../http/response.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { ErrorResponse, StoreErrorRule } from '../shared/reads/store-errors.ts';
import { describeIdentity, describePath, productName } from './describe.ts';
import { isPage } from './plain-response.ts';
import type { VaultLogin } from './types.ts';

/** An error response of Vault, of OpenBao, or of a proxy in front of them. */
export type VaultErrorResponse = ErrorResponse & {
  readonly status: number;
  /** Errors and warnings, each on one line; `text` is the same, joined. Rules match whole ones. */
  readonly errors: readonly string[];
  /** The body is JSON as Vault writes it. The page of a proxy is not, whatever its status. */
  readonly isFromVault: boolean;
  /** See {@link isPage}. */
  readonly isPage: boolean;
};

/**
 * Parses `{"errors": [...]}`, and the warnings of a response that has data.
 * @param now milliseconds since the epoch
 */
export function parseErrorResponse(
  { status, headers, body }: Pick<HttpResponse, 'status' | 'headers' | 'body'>,
  now: number,
): VaultErrorResponse {
  const fields = parse(body);
  const errors = [fields?.errors, fields?.warnings]
    .flatMap((list) => (Array.isArray(list) ? (list as unknown[]) : []))
    .filter((text) => typeof text === 'string')
    .map(joinLines);
  return {
    status,
    code: undefined,
    text: errors.join('; '),
    requestId: undefined,
    retryAfterMs: retryAfterOf(headers, now),
    errors,
    isFromVault: fields !== undefined && ('errors' in fields || 'data' in fields),
    isPage: isPage({ headers, body }),
  };
}

/**
 * Vault formats lists over several lines. This works line by line: one pattern for the whole text
 * needs hours for a megabyte of blanks.
 */
function joinLines(text: string): string {
  const lines = text.split('\n').map((line) => line.trim().replace(/^\* /, ''));
  return lines.filter((line) => line !== '').join(' ');
}

function parse(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** The remedy where a page came in place of a response. */
export function proxyHint(login: Pick<VaultLogin, 'dialect'>): string {
  return `a page came in its place: check that the address is that of ${productName(login)}, and that no proxy responds`;
}

/** What messages about a call name. */
export type CallErrorContext = {
  readonly login: VaultLogin;
  readonly method: string;
  /** Below `v1/`, as sent. */
  readonly path: string;
  /** Replaces the login's. */
  readonly namespace?: string;
};

type CallRule<Context = CallErrorContext> = StoreErrorRule<VaultErrorResponse, Context>;

const operationOf = (call: CallErrorContext): string => `${call.method} ${describePath(call)}`;

const hasStatus =
  (...statuses: readonly number[]) =>
  ({ status }: ErrorResponse): boolean =>
    status !== undefined && statuses.includes(status);

/**
 * Errors that another attempt can clear: a quota, a node that has not caught up, a failure of Vault
 * or of a proxy. Vault has not processed a request that it rejects by 429 or 412.
 */
export const transientErrors: readonly CallRule<CallErrorContext & { readonly address: string }>[] =
  [
    {
      match: hasStatus(429),
      code: 'STORE_THROTTLED',
      message: ({ address, ...call }) =>
        `${productName(call.login)} at ${address} has no quota left for ${operationOf(call)} for ${describeIdentity(call)}`,
      hint: 'refresh less often, or raise the rate limit quota',
      unsent: true,
    },
    {
      match: hasStatus(412),
      code: 'STORE_UNAVAILABLE',
      message: ({ address, ...call }) =>
        `${address} has not caught up with the cluster at ${operationOf(call)} for ${describeIdentity(call)}`,
      hint: 'a node that stays behind has a replication problem: its log has the reason',
      unsent: true,
    },
    {
      match: ({ status }) => status >= 500,
      code: 'STORE_UNAVAILABLE',
      message: ({ address, ...call }) =>
        `${productName(call.login)} at ${address} failed at ${operationOf(call)} for ${describeIdentity(call)}`,
      hint: ({ login }, { isFromVault }) =>
        isFromVault
          ? `the backend of this path, such as a database, may be down or out of reach of ${productName(login)}, whose log has the reason`
          : `something in front of ${productName(login)} responded in its place`,
    },
  ];

/**
 * OpenBao responds so to a login or a read: the namespace itself is missing, not a secret in it.
 */
export function isUnknownNamespace({ status, errors }: VaultErrorResponse): boolean {
  return status === 404 && errors.includes('namespace not found');
}

/**
 * Vault rejects the token itself: it has expired, was revoked, or never was one. A denial by policy
 * has another text, `1 error occurred: ...`. Vault 1.15 and later add `invalid token`
 * (hashicorp/vault#26687).
 */
function isTokenRejection({ status, errors }: VaultErrorResponse): boolean {
  if (status === 403)
    return errors.some((text) => text === 'permission denied' || /\binvalid token\b/.test(text));
  return status === 400 && errors.includes('missing client token');
}

/** The capability that a policy must have for a method. */
const capabilities: Readonly<Record<string, string>> = {
  GET: '"read"',
  LIST: '"list"',
  POST: '"update" (or "create")',
  PUT: '"update" (or "create")',
  PATCH: '"patch"',
  DELETE: '"delete"',
};

const refusedRequest = {
  code: 'STORE_REFUSED_REQUEST',
  message: (call) =>
    `${productName(call.login)} refused ${operationOf(call)} for ${describeIdentity(call)}`,
} as const satisfies Omit<CallRule, 'match'>;

/** The remedy where the namespace of the login is missing. */
function checkNamespace({ isHost }: VaultLogin): string {
  return `check ${isHost === true ? 'namespace' : 'vaultNamespace'}`;
}

/** Errors that are not transient. The last row matches everything. */
export const callErrors: readonly CallRule[] = [
  {
    match: ({ isFromVault }) => !isFromVault,
    code: 'STORE_ANSWER_INVALID',
    message: (call) =>
      `the response to ${operationOf(call)} does not look like one from ${productName(call.login)}`,
    hint: ({ login }, response) =>
      response.isPage
        ? proxyHint(login)
        : `check that the address is that of ${productName(login)}`,
    hidesText: true,
  },
  {
    match: isTokenRejection,
    code: 'CREDENTIALS_REFUSED',
    message: (call) =>
      `${productName(call.login)} did not take the token at ${operationOf(call)} for ${describeIdentity(call)}`,
    hint: ({ login }) =>
      login.method === 'token'
        ? 'it has expired, was revoked, or has reached its max TTL: put another one in its place'
        : 'it has expired, was revoked, or has reached its max TTL; Keyferry logs in again, at most once a minute',
  },
  {
    match: hasStatus(403),
    code: 'ACCESS_DENIED',
    message: (call) =>
      `${productName(call.login)} denies ${operationOf(call)} to ${describeIdentity(call)}`,
    hint: (call) =>
      `a policy of it must allow ${capabilities[call.method] ?? 'sudo'} on ${describePath(call)}`,
  },
  { ...refusedRequest, match: isUnknownNamespace, hint: ({ login }) => checkNamespace(login) },
  { ...refusedRequest, match: () => true, hint: 'check path, method and arguments' },
];

/** What messages about a node name. */
export type NodeErrorContext = { readonly address: string };

/** All requests to a node share its error. So no row shows the response to one of them. */
type NodeRule<Response extends ErrorResponse> = StoreErrorRule<Response, NodeErrorContext> & {
  readonly hidesText: true;
};

/** A state in which a node serves no request. It has not processed the one that it rejects. */
function nodeState(description: string, hint: string): Omit<NodeRule<ErrorResponse>, 'match'> {
  return {
    code: 'STORE_UNAVAILABLE',
    message: ({ address }) => `${address} ${description}`,
    hint,
    hidesText: true,
    unsent: true,
  };
}

const sealed = nodeState('is sealed', 'unseal it; if it seals itself again, its log says why');
const uninitialised = nodeState('is not initialised', 'initialise and unseal it');
const secondary = nodeState(
  'is a disaster recovery secondary',
  'put the address of the primary cluster first',
);
const noActiveNode = nodeState(
  'is a standby node without an active one',
  'a cluster chooses an active node within seconds; if it does not, its log says why',
);
const partitioned = nodeState(
  'is a standby node that is cut off from the active one',
  'check the network between the nodes of the cluster',
);
const removed = nodeState('was removed from its cluster', 'take its address away');
const notVault = nodeState(
  'does not respond like Vault to a request for its health',
  'check the address',
);

const hasStatusAndText =
  (status: number, pattern: RegExp) =>
  (response: VaultErrorResponse): boolean =>
    response.status === status && pattern.test(response.text);

/**
 * Responses to a call that say that this node serves no request now, so another node may. The texts
 * are those of a real Vault. A status alone is not enough: backends and proxies send the same ones.
 */
export const nodeErrors: readonly NodeRule<VaultErrorResponse>[] = [
  {
    // Not `unsent`: a proxy may have passed the request on.
    match: ({ status, isFromVault }) => !isFromVault && [502, 503, 504].includes(status),
    code: 'STORE_UNAVAILABLE',
    message: ({ address }) =>
      `${address} does not lead to Vault now: something in front of it responded`,
    hidesText: true,
  },
  { ...sealed, match: hasStatusAndText(503, /\bsealed\b/i) },
  { ...uninitialised, match: hasStatusAndText(503, /\bnot (yet )?initiali[sz]ed\b/i) },
  {
    ...noActiveNode,
    match: hasStatusAndText(500, /^local node not active but active cluster node not found$/),
  },
  {
    ...secondary,
    match: hasStatusAndText(400, /^path disabled in replication DR secondary mode$/),
  },
];

/**
 * Statuses of `GET sys/health` of a node that serves: active, standby (forwards or redirects), and
 * performance standby (https://developer.hashicorp.com/vault/api-docs/system/health).
 */
const healthyStatuses: ReadonlySet<number | undefined> = new Set([200, 429, 473]);

/** Responses to `GET sys/health`; a row matches where the node serves no request. */
export const healthErrors: readonly NodeRule<ErrorResponse>[] = [
  { ...secondary, match: hasStatus(472) },
  { ...partitioned, match: hasStatus(474) },
  { ...uninitialised, match: hasStatus(501) },
  { ...sealed, match: hasStatus(503) },
  { ...removed, match: hasStatus(530) },
  { ...notVault, match: ({ status }) => !healthyStatuses.has(status) },
];

const notForHosts: LoginHint = (login) =>
  `${quoteMount(login)} is of the method kubernetes: name a mount of the method ${login.method}`;
const quoteRole = ({ role = '' }: VaultLogin): string => `role "${sanitizeUserText(role)}"`;
const quoteMount = ({ mount }: VaultLogin): string => `auth/${sanitizeUserText(mount)}`;

type LoginHint = (login: VaultLogin) => string;

/** A remedy of its own for a host without Kubernetes. */
function whereHost(hostHint: LoginHint, hint: LoginHint): LoginHint {
  return (login) => (login.isHost === true ? hostHint(login) : hint(login));
}

/** The parameter that names the role. */
function roleParameter({ isHost, method }: VaultLogin): string {
  if (isHost !== true) return 'roleName';
  return method === 'cert' ? 'name' : 'role';
}

/** A login that Vault refused with this text, whole or matched by a pattern. */
function refusedLogin(
  text: string | RegExp,
  hint: string | LoginHint,
): StoreErrorRule<VaultErrorResponse, VaultLogin> {
  return {
    match: (response) =>
      typeof text === 'string' ? text === response.text : text.test(response.text),
    code: 'CREDENTIALS_REFUSED',
    message: (login) => `${productName(login)} refused the login of ${describeIdentity({ login })}`,
    hint,
  };
}

/**
 * Responses to a login. Vault's words differ between its methods and versions, so every response is
 * a refused login, and the text only selects the hint. Whole texts come before parts. The last row
 * matches everything.
 */
export const loginErrors: readonly StoreErrorRule<VaultErrorResponse, VaultLogin>[] = [
  refusedLogin(
    'invalid secret id',
    ({ isHost }) =>
      `the secret id is wrong, has expired, or has been used as often as it may be: make a new one${isHost === true ? ' and give it to docker dso init' : ''}`,
  ),
  refusedLogin(
    /^missing secret_id$/i,
    'the role needs a secret id beside the role id (bind_secret_id)',
  ),
  refusedLogin(
    /^invalid role( or secret)? id$/i,
    (login) =>
      `compare role_id with "read ${quoteMount(login)}/role/NAME/role-id"; the secret id may be of another role`,
  ),
  refusedLogin(
    'service account name not authorized',
    whereHost(
      notForHosts,
      (login) =>
        `the ServiceAccount must be among bound_service_account_names of ${quoteRole(login)}`,
    ),
  ),
  refusedLogin(
    'namespace not authorized',
    whereHost(
      notForHosts,
      (login) =>
        `the pod's namespace must be among bound_service_account_namespaces of ${quoteRole(login)}`,
    ),
  ),
  refusedLogin(
    'permission denied',
    (login) =>
      `is a method mounted at ${quoteMount(login)}${login.namespace === undefined ? '' : ', in this namespace'}?` +
      (login.method === 'kubernetes'
        ? ' may it review tokens (system:auth-delegator), of this cluster?'
        : ''),
  ),
  refusedLogin('namespace not found', checkNamespace),
  refusedLogin(
    /^(client certificate must be supplied|tls connection required)$/,
    'the login needs a client certificate and its key, and no proxy that ends TLS on the way',
  ),
  refusedLogin(/^invalid certificate or no client certificate supplied/, ({ role }) =>
    role === undefined
      ? 'no role of the method trusts the authority of the client certificate'
      : `the role "${sanitizeUserText(role)}" must trust the authority of the client certificate and its names`,
  ),
  refusedLogin(/^no handler for route /, (login) => `no method is mounted at ${quoteMount(login)}`),
  refusedLogin(
    /^(role ".*" could not be found|invalid role name ".*")$/s,
    (login) =>
      `make ${quoteRole(login)} at ${quoteMount(login)}, or correct ${roleParameter(login)}`,
  ),
  refusedLogin(
    /\baudience\b/,
    whereHost(
      (login) => `bound_audiences of ${quoteRole(login)} must have an audience of the token`,
      (login) =>
        `${quoteRole(login)} must have the audience "${sanitizeUserText(login.audience)}", or the class must name that of the role`,
    ),
  ),
  refusedLogin(
    /\(sub\) claim/,
    whereHost(
      (login) => `bound_subject of ${quoteRole(login)} must be the subject of the token`,
      (login) => `bound_subject of ${quoteRole(login)} must be the pod's ServiceAccount`,
    ),
  ),
  refusedLogin(
    /\b(is expired|not before|issued at)\b/,
    whereHost(
      () => 'put a new token into token_file, or compare the clock of this host with that of Vault',
      () => 'compare the clock of this node with that of Vault',
    ),
  ),
  refusedLogin(
    /\bsignature\b/,
    whereHost(
      (login) => `${quoteMount(login)} must know the keys of the token's issuer (its JWKS)`,
      (login) => `${quoteMount(login)} must know the keys of this cluster (its issuer's JWKS)`,
    ),
  ),
  refusedLogin(
    /\bCIDR\b/i,
    (login) =>
      `the bound CIDRs of ${login.role === undefined ? 'the role' : quoteRole(login)} leave out this ${login.isHost === true ? 'host' : 'node'}`,
  ),
  {
    ...refusedLogin('', (login) => `check the method at ${quoteMount(login)} and its role`),
    match: () => true,
  },
];
