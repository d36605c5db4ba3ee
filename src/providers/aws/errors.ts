import type { ErrorCode } from '../../core/errors.ts';
import { type ErrorResponse, describeErrorResponse } from '../shared/reads/store-errors.ts';

/** An answer that is no success, or none the SDK could read; without a code where it is not AWS's way to say it. */
export type Fault = ErrorResponse;

/**
 * What the SDK threw. The error itself goes no further: hidden in it are the answer and its body. Neither its class nor `$fault` tells
 * anything: AccessDenied and Throttling are both the client's fault, and services use names their models do not know.
 */
export function readFault(thrown: unknown): Fault {
  const error = (thrown ?? {}) as Readonly<Record<string, unknown>>;
  const metadata = (error.$metadata ?? {}) as Readonly<Record<string, unknown>>;
  const isAnswer = '$fault' in error && error.name !== 'Unknown';
  return {
    status: typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : undefined,
    code: isAnswer ? textOf(error.name) : undefined,
    text: isAnswer ? (textOf(error.message) ?? '') : '',
    requestId: textOf(metadata.requestId),
  };
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/**
 * `(HTTP 400, AccessDeniedException, request id 7d0f: "User: ... is not authorized ...")`. Refused keys and signatures show no text: it can
 * repeat what was signed, session token included.
 */
export function describeFault(fault: Fault, secrets: readonly string[]): string {
  return describeErrorResponse(
    { ...fault, text: isRefusal(fault) ? '' : gistOf(fault.text) },
    secrets,
  );
}

/** Who was denied, and by which kind of policy: with action and resource between them, which the hint names, the text would be cut before. */
function gistOf(text: string): string {
  return text.replace(/ is not authorized to perform: .*? (because )/s, ' is not authorized $1');
}

const refusals =
  /^(UnrecognizedClient|InvalidClientTokenId|ExpiredToken|InvalidToken|TokenRefreshRequired|MissingAuthenticationToken|IncompleteSignature|InvalidSignature|SignatureDoesNotMatch|InvalidAccessKeyId|RequestTimeTooSkewed|RequestExpired|NotSigned)(Exception)?$/;

/** The keys, the token of their session, the signature or its date were not taken. */
export function isRefusal({ code = '' }: Fault): boolean {
  return refusals.test(code);
}

/** The date of the signature is too far off. */
export function isBadDate({ code = '', text }: Fault): boolean {
  return (
    /^(RequestTimeTooSkewed|RequestExpired)/.test(code) ||
    /^Signature (expired|not yet current)/.test(text)
  );
}

/** No further calls for the moment. The status is 400. */
export function isThrottled({ status, code = '' }: Fault): boolean {
  return (
    status === 429 ||
    /Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|BandwidthLimitExceeded/.test(code)
  );
}

/** What passes by itself: the service, or one behind it, is in trouble. */
export function isUnavailable({ status = 0, code = '' }: Fault): boolean {
  return (
    status >= 500 ||
    /^(Internal(Service|Server)?(Error|Failure)|ServiceUnavailable|RequestTimeout|IDPCommunicationError|KMSInternal|DependencyTimeout)/.test(
      code,
    )
  );
}

/** What a fault means, where it is about neither keys nor trouble. */
export type Verdict = { readonly code: ErrorCode; readonly says: string; readonly hint?: string };

/** What reading an object takes, for hints. */
export type Need = {
  /** `Secrets Manager`, `SSM` */
  readonly service: string;
  /** `secretsmanager:GetSecretValue` */
  readonly action: string;
  /** As a policy has to name it. */
  readonly resource: string;
  readonly region: string;
};

/** The meaning of a fault of a service that stores secrets. */
export function judge(
  { status = 0, code, text }: Fault,
  { service, action, resource, region }: Need,
): Verdict {
  if (code === undefined || status < 400)
    return {
      code: 'STORE_ANSWER_INVALID',
      says: `the endpoint does not answer as ${service} does`,
      hint: 'check the endpoint and the region, and that no proxy answers in its place',
    };
  if (isKeyTrouble(code, text))
    return {
      code: 'ACCESS_DENIED',
      says: 'its KMS key cannot be used',
      hint: 'allow kms:Decrypt on the key, in IAM and in its key policy; the key must be enabled',
    };
  switch (code) {
    case 'AccessDeniedException':
    case 'AccessDenied':
      return {
        code: 'ACCESS_DENIED',
        says: 'access is denied',
        hint: `allow ${action} on ${resource}`,
      };
    case 'ResourceNotFoundException':
    case 'ParameterNotFound':
    case 'ParameterVersionNotFound':
      return /VersionId|staging label|VersionStage/i.test(text)
        ? { code: 'OBJECT_NOT_FOUND', says: 'there is no such version' }
        : { code: 'OBJECT_NOT_FOUND', says: 'there is no such secret', hint: wrongPlace(region) };
    case 'InvalidRequestException':
      if (/deletion|deleted/i.test(text))
        return {
          code: 'OBJECT_DISABLED',
          says: 'it is scheduled for deletion',
          hint: 'restore it with aws secretsmanager restore-secret',
        };
      break;
    case 'OptInRequired':
      return { code: 'ACCESS_DENIED', says: 'the region is not enabled for this account' };
  }
  return { code: 'STORE_REFUSED_REQUEST', says: `${service} refused the request` };
}

/** Where else an object may be. */
export function wrongPlace(region: string): string {
  return `check its name, and that it is in ${region}; another account's needs its whole ARN`;
}

/** Services tell of KMS by codes of their own, and as AccessDenied with a text of it. */
function isKeyTrouble(code: string, text: string): boolean {
  return (
    /^(DecryptionFailure|EncryptionFailure|InvalidKeyId|KMS)/.test(code) ||
    (code.startsWith('AccessDenied') &&
      /Access to KMS|to perform: kms:|customer master key|KMS key/.test(text))
  );
}

/**
 * How a policy names an object, for hints: `arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-??????`.
 * @param name as it is sent; an ARN stands for itself
 * @param account `*` where it is not known
 */
export function resourceOf(
  service: 'secretsmanager' | 'ssm',
  region: string,
  account: string,
  name: string,
): string {
  if (name.startsWith('arn:')) return name;
  const owner = /^\d{12}$/.test(account) ? account : '*';
  const tail = service === 'ssm' ? `parameter/${name.replace(/^\//, '')}` : `secret:${name}-??????`;
  return `arn:${partitionOf(region)}:${service}:${region}:${owner}:${tail}`;
}

function partitionOf(region: string): string {
  if (region.startsWith('cn-')) return 'aws-cn';
  return region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
}
