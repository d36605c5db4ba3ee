import { SecretError } from '../../errors/secret-error.ts';
import {
  describeFault,
  hasNoNamespace,
  pathOf,
  productOf,
  whose,
  type Fault,
  type Question,
} from './fault.ts';
import type { VaultLogin } from './login.ts';

/** What an answer means that is neither a success nor trouble which passes by itself. */
export function judge(fault: Fault, question: Question): SecretError {
  const { login, method } = question;
  const product = productOf(login);
  const told = describeFault(fault, secretsOf(question));
  const asked = `${method} ${pathOf(question)}`;
  if (!fault.isVaults)
    return new SecretError(
      'STORE_ANSWER_INVALID',
      `${asked} was not answered as ${product} does (HTTP ${fault.status})`,
      { hint: `check that the address is that of ${product}, and no proxy answers in its place` },
    );
  if (isBadToken(fault))
    return new SecretError(
      'CREDENTIALS_REFUSED',
      `${product} did not take the token at ${asked} for ${whose(question)} ${told}`,
      { hint: tokenHint(login) },
    );
  if (fault.status === 403)
    return new SecretError('ACCESS_DENIED', `${product} denies ${asked} to ${whose(question)} ${told}`, {
      hint: `a policy of it must allow ${capabilities[method] ?? 'sudo'} on ${pathOf(question)}`,
    });
  return new SecretError(
    'STORE_REFUSED_REQUEST',
    `${product} refused ${asked} for ${whose(question)} ${told}`,
    {
      hint: hasNoNamespace(fault) ? 'check vaultNamespace' : 'check path, method and arguments',
    },
  );
}

/** An answer that may be another one in a moment: a quota, a node that has not caught up, trouble inside of Vault or before it. */
export function passing(fault: Fault, question: Question, address: string): SecretError {
  const product = productOf(question.login);
  const asked = `${question.method} ${pathOf(question)} for ${whose(question)} ${describeFault(fault, secretsOf(question))}`;
  // What is turned away like this has not been looked at.
  if (fault.status === 429)
    return new SecretError('STORE_THROTTLED', `${product} at ${address} has no quota left for ${asked}`, {
      hint: 'refresh less often, or raise the rate limit quota',
      unsent: true,
    });
  if (fault.status === 412)
    return new SecretError('STORE_UNAVAILABLE', `${address} has not caught up with the cluster at ${asked}`, {
      hint: 'a node that stays behind has trouble with replication: its log says more',
      unsent: true,
    });
  return new SecretError('STORE_UNAVAILABLE', `${product} at ${address} failed at ${asked}`, {
    hint: fault.isVaults
      ? `what stands behind this path, such as a database, may be down or out of reach of ${product}, whose log says more`
      : `something before ${product} answered in its place`,
  });
}

/**
 * The token itself is not taken: ended, revoked, or never one. A denial by policy has other words, `1 error occurred: ...`; Vault 1.15 and later
 * add `invalid token` to those of a bad one (hashicorp/vault#26687).
 */
function isBadToken({ status, errors }: Fault): boolean {
  if (status === 403)
    return errors.some((text) => text === 'permission denied' || /\binvalid token\b/.test(text));
  return status === 400 && errors.includes('missing client token');
}

function tokenHint({ method }: VaultLogin): string {
  return method === 'token'
    ? 'it has expired, was revoked, or has reached its max TTL: put another one in its place'
    : 'it has expired, was revoked, or has reached its max TTL; Keyferry logs in again, at most once a minute';
}

const capabilities: Readonly<Record<string, string>> = {
  GET: '"read"',
  LIST: '"list"',
  POST: '"update" (or "create")',
  PUT: '"update" (or "create")',
  PATCH: '"patch"',
  DELETE: '"delete"',
};

function secretsOf({ token }: Question): readonly string[] {
  return token === undefined ? [] : [token.reveal()];
}
