import type { SecretRef } from '../../core/plan.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { HttpResponse } from '../../http/client.ts';
import { readXmlText, retryAfterOf, skewOf } from '../../http/response.ts';
import type { ErrorResponse, StoreErrorRule } from '../shared/reads/store-errors.ts';

/** An error response of a service, of the gateway in front of it, or of the metadata service. */
export type AlibabaErrorResponse = ErrorResponse & {
  readonly status: number;
  /** How far the clock of this node is ahead of the server's, in milliseconds. */
  readonly clockSkewMs: number;
};

/**
 * Parses an error body. Services send JSON. Their gateways send JSON or XML, whichever format the
 * request names.
 * @param now milliseconds since the epoch
 */
export function parseErrorResponse(response: HttpResponse, now: number): AlibabaErrorResponse {
  const { status, headers, body } = response;
  const field = createFieldReader(body.toString());
  return {
    status,
    code: field('Code'),
    // Text of HTTP 401 can repeat the token that STS refused, or what was signed.
    text: status === 401 ? '' : (field('Message') ?? ''),
    requestId: field('RequestId') ?? headers['x-acs-request-id'],
    retryAfterMs: retryAfterOf(headers, now),
    clockSkewMs: skewOf(response, now),
  };
}

type Rule<Context> = StoreErrorRule<AlibabaErrorResponse, Context>;

/** What the messages of a call name. */
type HostContext = { readonly host: string };
type OwnerContext = {
  /** The owner of the credential: `the access key it is configured with`. */
  readonly owner: string;
  /** The credential has the token of a role's session. */
  readonly isSession: boolean;
};
type StoreContext = OwnerContext & {
  /** `KMS` */
  readonly service: string;
  /** What a read needs, for the hint: `kms:GetSecretValue`. */
  readonly permission: string;
  /** What the class requested besides the name. */
  readonly requested: Pick<SecretRef, 'version' | 'stage'>;
};
type RoleContext = {
  /** The ARN of the role that a login assumes. */
  readonly roleArn: string;
};

const hasCode =
  (...codes: readonly string[]) =>
  ({ code }: AlibabaErrorResponse): boolean =>
    code !== undefined && codes.includes(code);

/** Matches a code and its subcodes: for `Forbidden` also `Forbidden.RAM`, not `ForbiddenUser`. */
const hasCodeOrSubcode =
  (...codes: readonly string[]) =>
  ({ code = '' }: AlibabaErrorResponse): boolean =>
    codes.some((each) => code === each || code.startsWith(`${each}.`));

/**
 * What every service can respond. A retry can help. Many callers get the error, so it has no text.
 */
export const transientErrors: readonly Rule<HostContext>[] = [
  {
    // The status of a throttled call can be 400.
    match: ({ status, code = '' }) =>
      status === 429 || (status >= 400 && code.includes('Throttling')),
    code: 'STORE_THROTTLED',
    message: ({ host }) => `too many calls: ${host}`,
    hidesText: true,
  },
  {
    // After SignatureNonceUsed a retry helps, because each attempt has a nonce of its own.
    match: ({ status, code = '' }) =>
      status >= 500 ||
      (status >= 400 &&
        /^(ServiceUnavailable|InternalFailure|InternalError|SignatureNonceUsed)/.test(code)),
    code: 'STORE_UNAVAILABLE',
    message: ({ host }) => `the service failed: ${host}`,
    hidesText: true,
  },
];

/**
 * All errors of the metadata service are transient. HTTP 404 is not an error: there is no such
 * value.
 */
export const metadataErrors: readonly Rule<HostContext>[] = [
  {
    match: () => true,
    code: 'STORE_UNAVAILABLE',
    message: ({ host }) => `${host} responded with an error`,
    hidesText: true,
  },
];

/** The server accepts a clock that is 15 minutes off. Below this limit the key is wrong. */
const skewHintThresholdMs = 5 * 60_000;

const isDateRejection = hasCodeOrSubcode(
  'InvalidTimeStamp',
  'IllegalTimestamp',
  'RequestTimeTooSkewed',
);
const isKeyRejection = hasCodeOrSubcode(
  ...[
    'InvalidAccessKeyId',
    'InvalidSecurityToken',
    'MissingSecurityToken',
    'Forbidden.AccessKeyDisabled',
  ],
  ...['SignatureDoesNotMatch', 'SignatureNotMatch', 'IncompleteSignature'],
);

/**
 * The service does not accept the key, the token of its session, the signature, or the signature's
 * date. The status can be 404.
 */
function isCredentialRejection(response: AlibabaErrorResponse): boolean {
  return isKeyRejection(response) || isDateRejection(response);
}

/** The text repeats the signed request, security token included. So it is hidden. */
const credentialErrors: readonly Rule<OwnerContext>[] = [
  {
    match: (response) =>
      isCredentialRejection(response) &&
      (isDateRejection(response) || Math.abs(response.clockSkewMs) > skewHintThresholdMs),
    code: 'CREDENTIALS_REFUSED',
    message: ({ owner }) => `Alibaba Cloud refused ${owner}`,
    hint: (_, { clockSkewMs }) => {
      if (Math.abs(clockSkewMs) <= skewHintThresholdMs)
        return 'compare the clock of this machine with that of Alibaba Cloud';
      return `the clock of this machine is ${clockSkewMs > 0 ? 'fast' : 'slow'}: set it right`;
    },
    hidesText: true,
  },
  {
    match: isCredentialRejection,
    code: 'CREDENTIALS_REFUSED',
    message: ({ owner }) => `Alibaba Cloud refused ${owner}`,
    hint: ({ isSession }) =>
      isSession
        ? 'check that the role exists, and that its session has not ended'
        : 'check that the key exists, is enabled and complete',
    hidesText: true,
  },
];

/** A service sends errors with a status of 400 or more, and with a code. */
function isForeignResponse({ status, code }: AlibabaErrorResponse): boolean {
  return code === undefined || status < 400;
}

/** KMS has one error for a secret that is not there and for a version that is not there. */
function notFoundHint({ requested: { version, stage = 'ACSCurrent' } }: StoreContext): string {
  if (version !== undefined)
    return `check that it exists and has version ${sanitizeUserText(version)}; remove objectVersion for the current one`;
  if (stage !== 'ACSCurrent')
    return `check that it exists and that a version has the label ${sanitizeUserText(stage)}; remove objectVersionLabel for the current one`;
  return 'check its name, region and account';
}

/**
 * Responses of KMS and OOS to a read. Exact codes come before `Forbidden` in general, because
 * `Forbidden.ResourceNotFound` means an absent secret. The last row matches everything.
 */
export const storeErrors: readonly Rule<StoreContext>[] = [
  ...credentialErrors,
  {
    match: hasCode('Forbidden.ResourceNotFound'),
    code: 'OBJECT_NOT_FOUND',
    message: 'there is no such secret, or not this version',
    hint: notFoundHint,
  },
  {
    match: hasCode('EntityNotExists.Parameter'),
    code: 'OBJECT_NOT_FOUND',
    message: 'there is no such parameter',
    hint: 'check its name, region and account',
  },
  {
    match: hasCode('EntityNotExists.ParameterVersion'),
    code: 'OBJECT_NOT_FOUND',
    message: 'there is no such version of the parameter',
    hint: notFoundHint,
  },
  {
    match: hasCode('Rejected.Disabled'),
    code: 'OBJECT_DISABLED',
    message: 'it, or the key that encrypts it, is disabled',
  },
  {
    match: hasCode('Rejected.PendingDeletion', 'Rejected.ResourceInDeletion'),
    code: 'OBJECT_DISABLED',
    message: 'it, or the key that encrypts it, is to be deleted',
  },
  {
    match: isForeignResponse,
    code: 'STORE_ANSWER_INVALID',
    message: ({ service }) => `the endpoint does not respond like ${service}`,
    hint: 'check the endpoint and the region',
  },
  {
    match: (response) =>
      response.status === 403 || hasCodeOrSubcode('Forbidden', 'NoPermission')(response),
    code: 'ACCESS_DENIED',
    message: 'access is denied',
    hint: ({ permission }) => `it needs ${permission}`,
  },
  {
    match: () => true,
    code: 'STORE_REFUSED_REQUEST',
    message: ({ service }) => `${service} refused the request`,
  },
];

/** For example the page of a proxy. It says nothing about the token, the key or the role. */
const foreignStsResponse: Rule<unknown> = {
  match: isForeignResponse,
  code: 'STORE_ANSWER_INVALID',
  message: 'the endpoint does not respond like STS',
  hidesText: true,
};

/** Responses of STS to AssumeRole. The last row matches everything. */
export const assumeRoleErrors: readonly Rule<OwnerContext & RoleContext>[] = [
  foreignStsResponse,
  ...credentialErrors,
  {
    match: () => true,
    code: 'ACCESS_DENIED',
    message: ({ owner, roleArn }) => `${owner} cannot assume the role ${roleArn}`,
    hint: 'it needs sts:AssumeRole, and the trust policy of the role must name it',
  },
];

const refusedToken: Rule<RoleContext> = {
  match: () => true,
  code: 'CREDENTIALS_REFUSED',
  message: ({ roleArn }) => `Alibaba Cloud refused the OIDC token for the role ${roleArn}`,
  hint: (_, { code = '' }) => {
    if (code.includes('OIDCToken.Expired')) return 'check the clock of this node';
    if (code.includes('OIDCToken.AudienceNotMatch'))
      return 'the audience of the token must be among the client ids of the OIDC provider';
    if (code.includes('NoPermission'))
      return 'the trust policy of the role must name the OIDC provider, and this ServiceAccount as oidc:sub';
    return 'check the OIDC provider (issuer, fingerprints, client ids), and that the role exists';
  },
};

/** Responses of STS to AssumeRoleWithOIDC. The last row matches everything. */
export const oidcTokenErrors: readonly Rule<RoleContext>[] = [
  foreignStsResponse,
  { ...refusedToken, match: isCredentialRejection, hidesText: true },
  refusedToken,
];

/** Reads a text field of a JSON or XML body. The reader returns undefined for an empty field. */
function createFieldReader(content: string): (name: string) => string | undefined {
  const fields = parseJson(content);
  return (name) => {
    const value = fields === undefined ? readXmlText(content, name) : fields[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
}

function parseJson(content: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(content);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return undefined;
  }
}
