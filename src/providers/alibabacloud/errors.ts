import type { ErrorCode } from '../../core/errors.ts';
import type { HttpResponse } from '../../http/client.ts';
import { type ErrorResponse, describeErrorResponse } from '../shared/reads/store-errors.ts';

/** An answer that is no success, as far as it could be read. */
export type Fault = ErrorResponse & { readonly status: number };

/** Reads an error as services (JSON) and their gateways (JSON or XML, whatever was asked for) write it. */
export function readFault({ status, headers, body }: HttpResponse): Fault {
  const content = body.toString();
  const field = fieldsOf(content);
  return {
    status,
    code: field('Code'),
    text: field('Message') ?? '',
    requestId: field('RequestId') ?? headers['x-acs-request-id'],
  };
}

/**
 * `(HTTP 404, Forbidden.ResourceNotFound, request id 7d0f: "Resource not found.")`. Refused keys and signatures show no text: it repeats
 * what was signed, security token included.
 */
export function describeFault(fault: Fault, secrets: readonly string[]): string {
  const isShown = fault.status !== 401 && !isRefusal(fault);
  return describeErrorResponse(isShown ? fault : { ...fault, text: '' }, secrets);
}

const keyClasses = [
  ...[
    'InvalidAccessKeyId',
    'InvalidSecurityToken',
    'MissingSecurityToken',
    'Forbidden.AccessKeyDisabled',
  ],
  ...['SignatureDoesNotMatch', 'SignatureNotMatch', 'IncompleteSignature'],
];
const dateClasses = ['InvalidTimeStamp', 'IllegalTimestamp', 'RequestTimeTooSkewed'];

/** The keys, the token of their session, the signature or its date were not taken. HTTP 404 may say so, too. */
export function isRefusal({ code = '' }: Fault): boolean {
  return isOf(keyClasses, code) || isBadDate(code);
}

/** The date of the signature is too far off. */
export function isBadDate(code = ''): boolean {
  return isOf(dateClasses, code);
}

/** `Forbidden.RAM` is of the class `Forbidden`, `ForbiddenByNobody` is not. */
function isOf(classes: readonly string[], code: string): boolean {
  return classes.some((name) => code === name || code.startsWith(`${name}.`));
}

/** No further calls for the moment. The status may be 400. */
export function isThrottled({ status, code = '' }: Fault): boolean {
  return status === 429 || code.includes('Throttling');
}

/** What passes by itself: the service is in trouble, or has seen this very request already (the next attempt signs anew). */
export function isUnavailable({ status, code = '' }: Fault): boolean {
  return (
    status >= 500 ||
    /^(ServiceUnavailable|InternalFailure|InternalError|SignatureNonceUsed)/.test(code)
  );
}

/** What a fault means, where it is about neither keys nor trouble. */
export type Verdict = { readonly code: ErrorCode; readonly says: string; readonly hint?: string };

const disabled: Verdict = {
  code: 'OBJECT_DISABLED',
  says: 'it, or the key that encrypts it, is disabled',
};
const pending: Verdict = {
  code: 'OBJECT_DISABLED',
  says: 'it, or the key that encrypts it, is to be deleted',
};

/** Exact codes come before classes: what is not there is `Forbidden`, too. */
const verdicts: ReadonlyMap<string, Verdict> = new Map([
  [
    'Forbidden.ResourceNotFound',
    { code: 'OBJECT_NOT_FOUND', says: 'there is no such secret, or not this version' },
  ],
  ['EntityNotExists.Parameter', { code: 'OBJECT_NOT_FOUND', says: 'there is no such parameter' }],
  [
    'EntityNotExists.ParameterVersion',
    { code: 'OBJECT_NOT_FOUND', says: 'there is no such version of the parameter' },
  ],
  ['Rejected.Disabled', disabled],
  ['Rejected.PendingDeletion', pending],
  ['Rejected.ResourceInDeletion', pending],
]);

/**
 * @param service who answered: `KMS`
 * @param permission what reading takes, for the hint
 */
export function judge({ status, code }: Fault, service: string, permission: string): Verdict {
  const exact = verdicts.get(code ?? '');
  if (exact !== undefined) return exact;
  if (code === undefined || status < 400)
    return {
      code: 'STORE_ANSWER_INVALID',
      says: `the endpoint does not answer as ${service} does`,
      hint: 'check the endpoint and the region',
    };
  if (status === 403 || isOf(['Forbidden', 'NoPermission'], code))
    return { code: 'ACCESS_DENIED', says: 'access is denied', hint: `it needs ${permission}` };
  return { code: 'STORE_REFUSED_REQUEST', says: `${service} refused the request` };
}

function fieldsOf(content: string): (name: string) => string | undefined {
  const fields = parse(content);
  return (name) => {
    const value = fields === undefined ? xmlText(content, name) : fields[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
}

function parse(content: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(content);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return undefined;
  }
}

/** Enough for `<Error><Code>...</Code></Error>`. */
function xmlText(content: string, name: string): string | undefined {
  const start = content.indexOf(`<${name}>`);
  const end = start === -1 ? -1 : content.indexOf('<', start + 1);
  return end === -1 ? undefined : content.slice(start + name.length + 2, end);
}
