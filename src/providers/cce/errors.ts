import type { HttpResponse } from '../../http/client.ts';
import { retryAfterOf, skewOf } from '../../http/response.ts';
import {
  type ErrorResponse,
  type StoreErrorRule,
  isKnownError,
} from '../shared/reads/store-errors.ts';

/** An error response of a service or of the gateway in front of it. */
export type CceErrorResponse = ErrorResponse & {
  readonly status: number;
  /** How far the clock of this node is ahead of the server's, in milliseconds. */
  readonly clockSkewMs: number;
};

/** What messages name. */
export type CceErrorContext = {
  readonly host: string;
  /** The owner of the credential: `the agency of this node`. */
  readonly owner: string;
  /** The credential has the token of a session. */
  readonly isSession: boolean;
};

/**
 * Parses the error bodies of Huawei Cloud's services and gateways: flat, nested, in three
 * spellings.
 * @param now milliseconds since the epoch
 */
export function parseErrorResponse(response: HttpResponse, now: number): CceErrorResponse {
  const { status, headers, body } = response;
  const { code, text } = readError(parseJson(body.toString())) ?? { code: undefined, text: '' };
  return {
    status,
    // IAM repeats the status as its code.
    code: code === String(status) ? undefined : code,
    text,
    requestId: headers['x-request-id'] ?? headers['x-iam-trace-id'],
    retryAfterMs: retryAfterOf(headers, now),
    clockSkewMs: skewOf(response, now),
  };
}

/** What messages about a call of CSMS name. */
type CsmsErrorContext = CceErrorContext & {
  /** The requested version: `v1`, ... or `latest`. */
  readonly version: string;
  /** What the call needs. */
  readonly permission: string;
  /** The remedy where another server responds. */
  readonly endpointHint: string;
};

type Rule = StoreErrorRule<CceErrorResponse, CceErrorContext>;
type CsmsRule = StoreErrorRule<CceErrorResponse, CsmsErrorContext>;

/**
 * The server rejects signatures that are more than 15 minutes off. Below this, the key is wrong.
 */
const skewHintThresholdMs = 5 * 60_000;

const hasCode =
  (...codes: readonly string[]) =>
  ({ code }: CceErrorResponse): boolean =>
    code !== undefined && codes.includes(code);

/**
 * Errors of every service that a retry can cure. Many callers can get such an error, so it hides
 * the text.
 */
export const transientErrors: readonly Rule[] = [
  {
    match: ({ status, code }) =>
      status === 429 || (status >= 400 && (code === 'APIGW.0308' || code === 'APIG.0308')),
    code: 'STORE_THROTTLED',
    message: ({ host }) => `too many calls: ${host}`,
    hidesText: true,
  },
  {
    match: ({ status }) => status >= 500,
    code: 'STORE_UNAVAILABLE',
    message: ({ host }) => `the service failed: ${host}`,
    hidesText: true,
  },
];

/** The service or its gateway rejects the signature, the key or its session. */
function isCredentialRejection({ status, code }: CceErrorResponse): boolean {
  return status === 401 || code === 'APIGW.0301' || code === 'APIG.0301';
}

/** The text repeats the signed request, security token included. So it is hidden. */
const credentialErrors: readonly Rule[] = [
  {
    match: (response) =>
      isCredentialRejection(response) && /AK access failed to reach the limit/i.test(response.text),
    code: 'CREDENTIALS_REFUSED',
    message: ({ owner }) => `Huawei Cloud has locked ${owner} after too many bad signatures`,
    hint: 'correct the secret key; the lock ends by itself after some minutes',
    hidesText: true,
  },
  {
    match: isCredentialRejection,
    code: 'CREDENTIALS_REFUSED',
    message: ({ owner }) => `Huawei Cloud refused ${owner}`,
    hint: ({ isSession }, { clockSkewMs }) => {
      if (Math.abs(clockSkewMs) <= skewHintThresholdMs)
        return isSession
          ? 'check that it exists, that its session has not ended, and that the clock of this machine is right'
          : 'check that the key exists, is enabled and complete, and that the clock of this machine is right';
      return `the clock of this machine is ${clockSkewMs > 0 ? 'fast' : 'slow'}: set it right`;
    },
    hidesText: true,
  },
];

const isCsmsCode = ({ code }: CceErrorResponse): boolean => code?.startsWith('CSMS.') === true;

const notFound = {
  code: 'OBJECT_NOT_FOUND',
  message: 'CSMS has no such secret, or not this version',
  hint: ({ version }: CsmsErrorContext) =>
    version === 'latest'
      ? 'check its name, and that it is in the region and the project of Keyferry'
      : `check that it exists and has version ${version}; for the current one write objectVersion: "latest"`,
} as const;
const refusedRequest = 'CSMS refused the request';
const permissionHint = ({ permission }: CsmsErrorContext): string => `it needs ${permission}`;

/**
 * The codes of CSMS that its API reference lists, most with HTTP 400
 * (https://support.huaweicloud.com/intl/en-us/api-dew/ErrorCode.html).
 */
const documentedCsmsErrors: readonly CsmsRule[] = [
  { ...notFound, match: hasCode('CSMS.0106', 'CSMS.0005') },
  {
    match: hasCode('CSMS.0103', 'CSMS.0107'),
    code: 'OBJECT_DISABLED',
    message: 'it is to be deleted',
  },
  {
    match: hasCode('CSMS.0002', 'CSMS.0003', 'CSMS.0004'),
    code: 'STORE_REFUSED_REQUEST',
    message: refusedRequest,
  },
  {
    match: hasCode('CSMS.0401'),
    code: 'ACCESS_DENIED',
    message: 'KMS did not decrypt it',
    hint: permissionHint,
  },
];

/** Responses of CSMS. The last row matches everything. */
export const csmsErrors: readonly CsmsRule[] = [
  ...documentedCsmsErrors,
  ...credentialErrors,
  {
    match: ({ status }) => status === 403,
    code: 'ACCESS_DENIED',
    message: 'access is denied',
    hint: permissionHint,
  },
  { ...notFound, match: (response) => response.status === 404 && isCsmsCode(response) },
  {
    match: (response) =>
      isCsmsCode(response) || (response.status === 400 && response.code !== undefined),
    code: 'STORE_REFUSED_REQUEST',
    message: refusedRequest,
  },
  {
    match: () => true,
    code: 'STORE_ANSWER_INVALID',
    message: ({ host }) => `${host} does not respond like CSMS`,
    hint: ({ endpointHint }) => endpointHint,
  },
];

/** CSMS sends codes that are not documented for secrets that are disabled or frozen. */
export function isUndocumentedCsmsCode(response: CceErrorResponse): boolean {
  return isCsmsCode(response) && !isKnownError(documentedCsmsErrors, response);
}

/** Responses of IAM to the lookup of a project. The last row matches everything. */
export const projectErrors: readonly StoreErrorRule<
  CceErrorResponse,
  CceErrorContext & {
    /** How to set the id of the project. */
    readonly hint: string;
  }
>[] = [
  ...credentialErrors,
  {
    match: () => true,
    code: 'NOT_CONFIGURED',
    message: ({ owner }) => `${owner} may not look up the project's id`,
    hint: ({ hint }) => `grant iam:projects:listProjects, or ${hint}`,
  },
];

const refusedToken: Rule = {
  match: () => true,
  code: 'CREDENTIALS_REFUSED',
  message: ({ owner }) => `Huawei Cloud refused ${owner}`,
  hint: 'check the identity provider (issuer, audience, keys) and the trust policy of the agency',
};

/**
 * Responses of IAM and STS to a login with a token. Their codes are not documented, so every
 * refusal is one of the token. `owner` is the token. The last row matches everything.
 */
export const tokenErrors: readonly Rule[] = [
  { ...refusedToken, match: isCredentialRejection, hidesText: true },
  refusedToken,
];

/** The remedy where IAM or STS cannot be reached. */
export const loginEndpointHint =
  'not every region has STS: HUAWEICLOUD_SDK_STS_ENDPOINT and _IAM_ENDPOINT name another';

type ErrorText = { readonly code: string | undefined; readonly text: string };

function readError(value: unknown, mayNest = true): ErrorText | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const code = firstText(fields, ['error_code', 'errorCode', 'code']);
  const text = firstText(fields, ['error_msg', 'errorMsg', 'message']);
  const encoded =
    fields.encoded_authorization_message === undefined
      ? ''
      : ' (an encoded authorization message is attached)';
  if (code !== undefined || text !== undefined) return { code, text: `${text ?? ''}${encoded}` };
  return mayNest ? readError(fields.error, false) : undefined;
}

function firstText(fields: Record<string, unknown>, names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = fields[name];
    if (typeof value === 'string' && value !== '') return value;
    if (typeof value === 'number') return String(value);
  }
  return undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
