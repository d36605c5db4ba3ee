import { awsErrorResponse, type AwsCall } from './aws-account.ts';
import type { FakeResponse } from './http-server.ts';

/** What IAM and KMS deny, and what is slow. */
export type AwsPolicy = {
  /** `DescribeSecret`, a name, `GetSecretValue db`; each also with ` by HOLDER`. */
  readonly denied: Set<string>;
  /** Names whose KMS key the reader may not use. */
  readonly kmsDenied: Set<string>;
  /** The delay of actions and names, in milliseconds. */
  readonly delays: Map<string, number>;
};

/** A policy that denies and delays nothing. */
export function createAwsPolicy(): AwsPolicy {
  return { denied: new Set(), kmsDenied: new Set(), delays: new Map() };
}

/** The error response of a call for a resource, if the policy denies it. */
export function accessDeniedResponse(
  { denied }: AwsPolicy,
  { action, holder }: AwsCall,
  { service, name, arn }: { readonly service: string; readonly name: string; readonly arn: string },
): FakeResponse | undefined {
  const rules = [action, name, `${action} ${name}`].flatMap((rule) => [
    rule,
    `${rule} by ${holder}`,
  ]);
  if (!rules.some((rule) => denied.has(rule))) return undefined;
  return awsErrorResponse(
    'AccessDeniedException',
    `User: ${holder} is not authorized to perform: ${service}:${action} on resource: ${arn} because no identity-based policy allows the ${service}:${action} action`,
  );
}

/** Waits for the longest of these delays. */
export async function applyDelay({ delays }: AwsPolicy, keys: readonly string[]): Promise<void> {
  const ms = Math.max(0, ...keys.map((key) => delays.get(key) ?? 0));
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}
