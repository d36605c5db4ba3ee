import type { HttpResponse } from '../../http/client.ts';
import { parseJson, readXmlText, retryAfterOf, skewOf } from '../../http/response.ts';
import type { ErrorResponse, StoreErrorRule } from '../shared/reads/store-errors.ts';
import { hasShortAccount, shortAccountHint } from './arn.ts';
import type { AwsTexts } from './texts.ts';

/**
 * An error response of a service. It has no code where it does not have the form of an AWS error.
 */
export type AwsErrorResponse = ErrorResponse & {
  /** The service's whole text, for the rows. `text` leaves out action and resource. */
  readonly fullText: string;
  /** How far the clock of this node is ahead of the service's, in milliseconds. */
  readonly clockSkewMs: number;
};

/** What messages name about every call. */
export type ServiceContext = {
  /** `Secrets Manager`, `SSM`, `STS` */
  readonly service: string;
  readonly region: string;
};

/** What messages name about the read of a secret. */
export type ReadContext = ServiceContext & {
  /** The owner of the credential. */
  readonly owner: string;
  /** The permission that the read needs: `secretsmanager:GetSecretValue`. */
  readonly action: string;
  /** The resource as a policy names it. */
  readonly resource: string;
};

/**
 * Parses an error body: JSON of AWS JSON 1.1, or XML of the query protocol. Their statuses do not
 * distinguish the kinds of errors: AccessDenied and Throttling can both be 400.
 * @param now milliseconds since the epoch
 */
export function parseErrorResponse(response: HttpResponse, now: number): AwsErrorResponse {
  const { status, headers } = response;
  const { code, message = '', requestId } = readErrorFields(response);
  const fullText = code === undefined ? '' : message;
  return {
    ...{ status, code, fullText },
    text: withoutActionAndResource(fullText),
    requestId: requestIdOf(response) ?? requestId,
    retryAfterMs: retryAfterOf(headers, now),
    clockSkewMs: skewOf(response, now),
  };
}

type ErrorFields = Readonly<Record<'code' | 'message' | 'requestId', string | undefined>>;

function readErrorFields({ headers, body }: HttpResponse): ErrorFields {
  const json = parseJson(body);
  const { code, message, requestId } = json === undefined ? xmlFields(body) : jsonFields(json);
  return { code: plainCode(code ?? headers['x-amzn-errortype']), message, requestId };
}

function jsonFields(json: unknown): ErrorFields {
  const { __type: type, code, message, Message: otherMessage } = recordOf(json);
  return {
    code: textOf(type) ?? textOf(code),
    message: textOf(message) ?? textOf(otherMessage),
    requestId: undefined,
  };
}

function xmlFields(body: Buffer): ErrorFields {
  const content = body.toString();
  const element = (name: string): string | undefined => textOf(readXmlText(content, name));
  return { code: element('Code'), message: element('Message'), requestId: element('RequestId') };
}

/** `AccessDenied` of `com.amazonaws#AccessDenied:http://internal.example/`. */
function plainCode(code: string | undefined): string | undefined {
  return textOf(code?.replace(/[,:].*$/s, '').replace(/^.*#/s, ''));
}

/** The id by which AWS finds the request in its logs. */
export function requestIdOf({ headers }: Pick<HttpResponse, 'headers'>): string | undefined {
  return textOf(headers['x-amzn-requestid'] ?? headers['x-amz-request-id']);
}

/**
 * Keeps who was denied, and by which kind of policy. The hint names the action and the resource.
 * With them a message would be cut before the kind of policy.
 */
function withoutActionAndResource(text: string): string {
  return text.replace(/ is not authorized to perform: .*? (because )/s, ' is not authorized $1');
}

type Rule<Context> = StoreErrorRule<AwsErrorResponse, Context>;

function isThrottled({ status, code = '' }: ErrorResponse): boolean {
  return (
    status === 429 ||
    /Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|BandwidthLimitExceeded/.test(code)
  );
}

/** The service, or one behind it, has an outage. */
function isUnavailable({ status = 0, code = '' }: ErrorResponse): boolean {
  return (
    status >= 500 ||
    /^(Internal(Service|Server)?(Error|Failure)|ServiceUnavailable|RequestTimeout|IDPCommunicationError|KMSInternal|DependencyTimeout)/.test(
      code,
    )
  );
}

/**
 * What every service can respond. A retry can help. Many callers get the error, and the text can
 * name the secret of one of them. So it is hidden.
 */
export const transientErrors: readonly Rule<ServiceContext>[] = [
  {
    match: isThrottled,
    code: 'STORE_THROTTLED',
    message: ({ service, region }) => `too many calls: ${service} in ${region}`,
    hidesText: true,
  },
  {
    match: isUnavailable,
    code: 'STORE_UNAVAILABLE',
    message: ({ service, region }) => `the service failed: ${service} in ${region}`,
    hidesText: true,
  },
];

/** The date of the signature is too far from the service's clock. */
export function isBadDate({ code = '', fullText }: AwsErrorResponse): boolean {
  return (
    /^(RequestTimeTooSkewed|RequestExpired)/.test(code) ||
    /^Signature (expired|not yet current)/.test(fullText)
  );
}

const credentialCodes =
  /^(UnrecognizedClient|InvalidClientTokenId|ExpiredToken|InvalidToken|TokenRefreshRequired|MissingAuthenticationToken|IncompleteSignature|InvalidSignature|SignatureDoesNotMatch|InvalidAccessKeyId|RequestTimeTooSkewed|RequestExpired|NotSigned)(Exception)?$/;

/** The service rejects the keys, the token of their session, the signature or its date. */
function isCredentialRejection({ code = '' }: AwsErrorResponse): boolean {
  return credentialCodes.test(code);
}

/** The response does not come from AWS: a proxy or another service sent it. */
function isNotAws({ status = 0, code }: AwsErrorResponse): boolean {
  return code === undefined || status < 400;
}

const hasCode =
  (...codes: readonly string[]) =>
  ({ code }: AwsErrorResponse): boolean =>
    code !== undefined && codes.includes(code);

/**
 * Services report errors of KMS with codes of their own, or as AccessDenied with a text about KMS.
 */
function isKmsError({ code = '', fullText }: AwsErrorResponse): boolean {
  return (
    /^(DecryptionFailure|EncryptionFailure|InvalidKeyId|KMS)/.test(code) ||
    (code.startsWith('AccessDenied') &&
      /Access to KMS|to perform: kms:|customer master key|KMS key/.test(fullText))
  );
}

const isNotFound = hasCode(
  'ResourceNotFoundException',
  'ParameterNotFound',
  'ParameterVersionNotFound',
);

const notFoundHint = ({ region }: { readonly region: string }): string =>
  `check its name, and that it is in ${region}; a secret of another account needs its whole ARN`;

const refusedCredentials: Rule<{ readonly owner: string; readonly region: string }> = {
  match: isCredentialRejection,
  code: 'CREDENTIALS_REFUSED',
  message: ({ owner }) => `AWS refused the credentials of ${owner}`,
  hint: ({ region }, response) =>
    isBadDate(response)
      ? 'set the clock of this machine right'
      : `check that they are still valid, and that ${region} is enabled for their account`,
  // It can repeat what was signed, session token included.
  hidesText: true,
};

/**
 * Responses of Secrets Manager and SSM to a read, without the transient ones. The last row matches
 * everything.
 */
export const readErrors: readonly Rule<ReadContext>[] = [
  refusedCredentials,
  {
    match: isNotAws,
    code: 'STORE_ANSWER_INVALID',
    message: ({ service }) => `the endpoint does not respond like ${service}`,
    hint: 'check the endpoint and the region, and that no proxy responds in its place',
  },
  {
    match: isKmsError,
    code: 'ACCESS_DENIED',
    message: 'its KMS key cannot be used',
    hint: 'allow kms:Decrypt on the key, in IAM and in its key policy; the key must be enabled',
  },
  {
    match: hasCode('AccessDeniedException', 'AccessDenied'),
    code: 'ACCESS_DENIED',
    message: 'access is denied',
    hint: ({ action, resource }) => `allow ${action} on ${resource}`,
  },
  {
    match: (response) =>
      isNotFound(response) && /staging label:? AWSCURRENT/.test(response.fullText),
    code: 'OBJECT_NOT_FOUND',
    message: 'it has no current version',
    hint: 'give it a value, by aws secretsmanager put-secret-value',
  },
  {
    match: (response) =>
      isNotFound(response) && /VersionId|staging label|VersionStage/i.test(response.fullText),
    code: 'OBJECT_NOT_FOUND',
    message: 'there is no such version',
    hint: 'remove objectVersion and objectVersionLabel for the current one, or name one that is there',
  },
  {
    match: isNotFound,
    code: 'OBJECT_NOT_FOUND',
    message: 'there is no such secret',
    hint: notFoundHint,
  },
  {
    match: (response) =>
      hasCode('InvalidRequestException')(response) && /deletion|deleted/i.test(response.fullText),
    code: 'OBJECT_DISABLED',
    message: 'it is scheduled for deletion',
    hint: 'restore it with aws secretsmanager restore-secret',
  },
  {
    match: hasCode('OptInRequired'),
    code: 'ACCESS_DENIED',
    message: 'the region is not enabled for this account',
  },
  {
    match: () => true,
    code: 'STORE_REFUSED_REQUEST',
    message: ({ service }) => `${service} refused the request`,
  },
];

/** A name that GetParameters lists under `InvalidParameters`. The row matches everything. */
export const invalidParameterErrors: readonly StoreErrorRule<
  ErrorResponse,
  {
    readonly region: string;
    /** What follows the name in the request, if anything. */
    readonly selector: 'version' | 'label' | undefined;
  }
>[] = [
  {
    match: () => true,
    code: 'OBJECT_NOT_FOUND',
    message: ({ selector }) =>
      `there is no such parameter${selector === undefined ? '' : `, or not this ${selector}`}`,
    hint: notFoundHint,
  },
];

const refusedToken = {
  code: 'CREDENTIALS_REFUSED',
  message: ({ region, roleArn }: ServiceContext & { readonly roleArn: string }) =>
    `STS in ${region} refused the ServiceAccount's token for the role ${roleArn}`,
  hint: "check that the OIDC provider of this cluster exists in IAM, in the role's account",
} as const;

/**
 * Responses of STS to AssumeRoleWithWebIdentity, without the transient ones. The last row matches
 * everything.
 */
export const tokenErrors: readonly Rule<ServiceContext & { readonly roleArn: string }>[] = [
  {
    match: isNotAws,
    code: 'STORE_ANSWER_INVALID',
    message: ({ region }) => `the endpoint does not respond like STS in ${region}`,
    hidesText: true,
  },
  {
    ...refusedToken,
    match: ({ code = '' }) => code.startsWith('ExpiredToken'),
    hint: 'check the clock of this node',
    hidesText: true,
  },
  { ...refusedToken, match: isCredentialRejection, hidesText: true },
  {
    ...refusedToken,
    match: ({ code = '' }) => code.startsWith('RegionDisabled'),
    hint: ({ region }) => `activate STS for ${region} in the account settings of IAM`,
  },
  {
    ...refusedToken,
    match: ({ fullText }) => /audience/i.test(fullText),
    hint: 'add sts.amazonaws.com to the audiences (client ids) of the OIDC provider in IAM',
  },
  {
    ...refusedToken,
    match: ({ code = '' }) => code.startsWith('AccessDenied'),
    hint:
      'the role must exist, and its trust policy must allow sts:AssumeRoleWithWebIdentity to the OIDC provider of this cluster, ' +
      'with this ServiceAccount as sub and sts.amazonaws.com as aud',
  },
  { ...refusedToken, match: () => true },
];

type RoleContext = ServiceContext & {
  readonly roleArn: string;
  /** Who assumes the role. */
  readonly owner: string;
};

/** Responses of STS to AssumeRole, without the transient ones. The last row matches everything. */
export const assumeRoleErrors: readonly Rule<RoleContext>[] = [
  {
    match: isNotAws,
    code: 'STORE_ANSWER_INVALID',
    message: ({ region }) => `the endpoint does not respond like STS in ${region}`,
    hidesText: true,
  },
  refusedCredentials,
  {
    match: ({ code = '' }) => code.startsWith('AccessDenied'),
    code: 'ACCESS_DENIED',
    message: ({ owner, roleArn }) => `${owner} cannot assume the role ${roleArn}`,
    hint: ({ roleArn }) =>
      `the role must exist, its trust policy must name the identity of the caller, and that identity needs sts:AssumeRole on ${roleArn}`,
  },
  {
    match: ({ code = '' }) => code.startsWith('RegionDisabled'),
    code: 'ACCESS_DENIED',
    message: ({ region }) => `STS is not active in ${region}`,
    hint: ({ region }) => `activate STS for ${region} in the account settings of IAM`,
  },
  {
    match: () => true,
    code: 'STORE_REFUSED_REQUEST',
    message: ({ roleArn }) => `STS refused the request for the role ${roleArn}`,
    hint: ({ roleArn }) =>
      hasShortAccount(roleArn) ? shortAccountHint : 'check the ARN of the role',
  },
];

/**
 * Responses of STS to the SDK's default credential chain. The text is hidden: it can name what is
 * only the operator's. The last row matches everything.
 */
export const defaultChainErrors: readonly StoreErrorRule<
  ErrorResponse,
  ServiceContext & { readonly texts: AwsTexts }
>[] = [
  {
    match: (response) => isThrottled(response) || isUnavailable(response),
    code: 'CREDENTIALS_UNAVAILABLE',
    message: ({ service, region, texts }) => `no keys for ${texts.owner}: ${service} in ${region}`,
    hidesText: true,
  },
  {
    match: () => true,
    code: 'CREDENTIALS_REFUSED',
    message: ({ service, region, texts }) => `${texts.refusedRole}: ${service} in ${region}`,
    hint: 'check the trust policy of the role',
    hidesText: true,
  },
];

/**
 * Parses what the SDK's default credential chain threw. Only an error of a service has `$fault`.
 * The caller must not keep `thrown`: its hidden fields contain the body of the response.
 * @param now milliseconds since the epoch
 */
export function parseThrownError(thrown: unknown, now: number): ErrorResponse {
  const error = recordOf(thrown);
  const { httpStatusCode: status, requestId } = recordOf(error.$metadata);
  const headers = recordOf(recordOf(error.$response).headers) as Record<string, string | undefined>;
  return {
    status: typeof status === 'number' ? status : undefined,
    code: '$fault' in error && error.name !== 'Unknown' ? textOf(error.name) : undefined,
    text: '',
    requestId: textOf(requestId),
    retryAfterMs: retryAfterOf(headers, now),
  };
}

/**
 * Parses an error of the EKS Pod Identity agent. It sends one line of text:
 * `[7d0f]: (ResourceNotFoundException): ...`.
 * @param now milliseconds since the epoch
 */
export function parseAgentErrorResponse(response: HttpResponse, now: number): ErrorResponse {
  const { status, headers, body } = response;
  const [, requestId, text = ''] = /^(?:\[([\w-]+)\]: )?(.*)$/s.exec(body.toString().trim()) ?? [];
  return {
    status,
    code: undefined,
    text,
    requestId,
    retryAfterMs: retryAfterOf(headers, now),
  };
}

/** Errors of the agent for which a retry can help. */
export const transientAgentErrors: readonly StoreErrorRule<ErrorResponse, undefined>[] = [
  { match: ({ status }) => status === 429, code: 'STORE_THROTTLED', message: 'the agent failed' },
  {
    match: ({ status = 0 }) => status >= 500,
    code: 'STORE_UNAVAILABLE',
    message: 'the agent failed',
  },
];

const refusedAgentToken = {
  code: 'CREDENTIALS_REFUSED',
  message: "the agent of EKS Pod Identity refused the pod's token",
} as const;

/** The other errors of the agent. The last row matches everything. */
export const agentErrors: readonly StoreErrorRule<ErrorResponse, undefined>[] = [
  {
    match: ({ status, text }) => status !== 400 && !text.includes('Exception'),
    code: 'STORE_ANSWER_INVALID',
    message: 'the address does not respond like the agent of EKS Pod Identity',
    hidesText: true,
  },
  {
    ...refusedAgentToken,
    match: ({ text }) => text.includes('ResourceNotFound'),
    hint: 'create a Pod Identity association for this ServiceAccount in this cluster',
  },
  {
    ...refusedAgentToken,
    match: ({ text }) => text.includes('ExpiredToken'),
    hint: 'check the clock of this node',
  },
  {
    ...refusedAgentToken,
    match: ({ text }) => text.includes('AccessDenied'),
    hint:
      'the trust policy of the associated role must allow sts:AssumeRole and sts:TagSession to pods.eks.amazonaws.com; ' +
      'the role of the node needs eks-auth:AssumeRoleForPodIdentity',
  },
  {
    ...refusedAgentToken,
    match: () => true,
    hint: 'see the log of eks-pod-identity-agent on this node',
  },
];

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
