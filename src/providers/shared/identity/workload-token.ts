import * as z from 'zod';
import { SecretError } from '../../../core/errors.ts';
import type { Redacted } from '../../../core/redacted.ts';
import { sanitizeExternalText, sanitizeUserText } from '../../../core/safe-text.ts';
import type { Workload } from '../../../core/workload.ts';

/** The clocks of a node and of the API server can differ by this. */
const clockSkewMs = 30_000;
const maxTokenLength = 64 * 1024;
/** A forged token attribute can have any number of audiences. */
const maxShownAudiences = 5;

/** A token of a workload, with claims that match the workload. */
export type WorkloadToken = {
  readonly token: Redacted;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** The URL of the issuer. */
  readonly issuer: string | undefined;
  /** Changes when a ServiceAccount is deleted and created again with the same name. */
  readonly serviceAccountUid: string | undefined;
  /** The pod that the token is bound to. */
  readonly podUid: string | undefined;
};

const claimsSchema = z.object({
  sub: z.string(),
  aud: z.union([z.string(), z.array(z.string())]),
  exp: z.number(),
  iss: z.string().optional(),
  'kubernetes.io': z
    .object({
      serviceaccount: z.object({ uid: z.string() }).optional(),
      pod: z.object({ uid: z.string() }).optional(),
    })
    .optional(),
});

/**
 * Returns the driver's token for `audience` after a check of `sub`, `aud` and `exp`. A pod can
 * forge the token attribute of the request where the driver does not set it. It cannot forge its
 * namespace and ServiceAccount. The store verifies the signature.
 * @param now milliseconds since the epoch
 * @throws SecretError TOKEN_MISSING, TOKEN_INVALID
 */
export function readWorkloadToken(
  workload: Pick<Workload, 'tenant' | 'identity' | 'tokens'>,
  audience: string,
  now: number,
): WorkloadToken {
  const driverToken = workload.tokens.get(audience);
  if (driverToken === undefined) throw missingTokenError(workload, audience);
  const throwInvalidToken = (reason: string): never => {
    throw new SecretError(
      'TOKEN_INVALID',
      `the pod's token for the audience ${sanitizeUserText(audience)} ${reason}`,
    );
  };
  const token = driverToken.token.reveal();
  const parsed = claimsSchema.safeParse(decodeClaims(token));
  if (!parsed.success) return throwInvalidToken('is not a ServiceAccount token');
  const { sub, aud, exp, iss, 'kubernetes.io': kubernetes } = parsed.data;
  const subject = `system:serviceaccount:${workload.tenant}:${workload.identity.name}`;
  if (sub !== subject)
    return throwInvalidToken(`belongs to ${sanitizeExternalText(sub, [token])}, not to ${subject}`);
  if (![aud].flat().includes(audience)) return throwInvalidToken('is for another audience');
  if (exp * 1_000 + clockSkewMs <= now)
    return throwInvalidToken(`expired at ${isoTime(exp)}; check the clock of the node`);
  return {
    token: driverToken.token,
    expiresAt: exp * 1_000,
    issuer: iss,
    serviceAccountUid: kubernetes?.serviceaccount?.uid,
    podUid: kubernetes?.pod?.uid,
  };
}

/** The pod that a token says it is bound to, without any check; undefined if it names none. */
export function claimedPodUid(token: string): string | undefined {
  return claimsSchema.safeParse(decodeClaims(token)).data?.['kubernetes.io']?.pod?.uid;
}

/**
 * Checks the pod that a token is bound to, where the store may decide by it. A token that is bound
 * to no pod passes.
 * @throws SecretError TOKEN_INVALID
 */
export function checkPodOfToken(
  { instance }: Pick<Workload, 'instance'>,
  { podUid }: WorkloadToken,
  audience: string,
): void {
  if (podUid === undefined || podUid === instance) return;
  throw new SecretError(
    'TOKEN_INVALID',
    `the pod's token for the audience ${sanitizeUserText(audience)} is bound to another pod`,
  );
}

function missingTokenError(workload: Pick<Workload, 'tokens'>, audience: string): SecretError {
  const audiences = [...workload.tokens.keys()].map((name) => sanitizeUserText(name));
  const more =
    audiences.length > maxShownAudiences ? ` and ${audiences.length - maxShownAudiences} more` : '';
  const others = audiences.slice(0, maxShownAudiences).join(', ') + more;
  return new SecretError(
    'TOKEN_MISSING',
    `the driver sent no token for the audience ${sanitizeUserText(audience)}, ` +
      (others === '' ? 'nor any other' : `only for ${others}`),
    {
      hint: `add "- audience: ${sanitizeUserText(audience)}" to tokenRequests in the values of the driver's chart`,
    },
  );
}

/**
 * Decodes the claims of a JWT. Undefined if it is not one, or has characters that a header cannot
 * contain.
 */
function decodeClaims(token: string): unknown {
  if (token.length > maxTokenLength || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return undefined;
  try {
    return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
  } catch {
    return undefined;
  }
}

function isoTime(seconds: number): string {
  const date = new Date(seconds * 1_000);
  return Number.isNaN(date.getTime()) ? 'an invalid time' : date.toISOString();
}
