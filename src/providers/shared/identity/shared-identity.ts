import type { Logger } from 'pino';
import { SecretError } from '../../../core/errors.ts';
import type { SharedIdentityMode } from '../../../core/provider.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { Workload } from '../../../core/workload.ts';
import { GrantsFile, type SharedIdentityGrant, type SharedIdentityMetrics } from './grants-file.ts';
import type { NameGlob } from './name-glob.ts';

export { createSharedIdentityMetrics } from './grants-file.ts';

/** A read by an identity that is not the workload's own. */
export type SharedIdentityRequest = {
  readonly workload: Pick<Workload, 'tenant' | 'identity'>;
  /** The provider's name, as the class has it. */
  readonly provider: string;
  /** The ref's service. */
  readonly service: string;
  /** The ref's name, as the provider sends it to the store. */
  readonly name: string;
  /** The role to assume, if the class names one. */
  readonly role?: string | undefined;
  /** The HTTP method, for stores that take several. Default GET. */
  readonly method?: string | undefined;
};

/**
 * No store has names near this length. A tenant could use a longer one to keep the matcher busy.
 */
const maxNameLength = 4_096;

/** In hints, where no grants file is configured. */
const grantsFilePlaceholder = 'a file for --shared-identity-grants';

/** See {@link SharedIdentity}. */
export type SharedIdentityOptions = {
  readonly mode: SharedIdentityMode;
  readonly grantsFile?: string | undefined;
  /** The chart runs Keyferry: remedies name its values, and not flags. Default false. */
  readonly isByChart?: boolean;
  readonly log: Logger;
  /** Milliseconds. */
  readonly now: () => number;
  readonly metrics?: SharedIdentityMetrics;
};

/**
 * Decides which workloads may read which secrets by an identity that is not their own.
 * See {@link GrantsFile} for when it reads the grants file.
 */
export class SharedIdentity {
  readonly mode: SharedIdentityMode;
  readonly #remedy: string;
  readonly #grants: () => readonly SharedIdentityGrant[];

  /** @throws SecretError NOT_CONFIGURED if the grants file cannot be used */
  constructor(options: SharedIdentityOptions) {
    const { mode, grantsFile, log, now, metrics } = options;
    this.mode = mode;
    this.#remedy = remedyOf(options);
    if (mode === 'all')
      log.warn(
        '--shared-identities all: every workload may read what the identities of this node may ' +
          'read; use it for a migration only',
      );
    if (mode === 'granted' && grantsFile === undefined)
      log.info(
        'no --shared-identity-grants: workloads can read secrets by their own identities only',
      );
    if (grantsFile === undefined || mode === 'none') {
      this.#grants = () => [];
    } else {
      const file = new GrantsFile(grantsFile, { log, now, metrics });
      this.#grants = () => file.read();
    }
  }

  /** @throws SecretError NOT_GRANTED, with the workload, the secret and the remedies */
  check(request: SharedIdentityRequest): void {
    const reason = this.#denialReason(request);
    if (reason === undefined) return;
    throw notGrantedError(request, reason, this.#remedy);
  }

  #denialReason(request: SharedIdentityRequest): string | undefined {
    const { workload, provider, service, name, role, method = 'GET' } = request;
    if (this.mode === 'none') return 'this node runs with --shared-identities none';
    // Every mode demands a grant for a role, and for a method that may change something.
    if (this.mode === 'all' && role === undefined && method === 'GET') return undefined;
    if (!isPlainName(name))
      return 'a name that long, or with "." or ".." as an element, is never granted';
    const qualifiedName = `${service}/${name}`;
    const isMatching = (grant: SharedIdentityGrant): boolean =>
      grant.provider === provider &&
      matchesAny(grant.namespaces, workload.tenant) &&
      matchesAny(grant.serviceAccounts, workload.identity.name) &&
      matchesAny(grant.names, qualifiedName);
    // Each mount checks each of its secrets, and most checks are for plain reads.
    if (role === undefined && method === 'GET' && this.#grants().some(isMatching)) return undefined;
    const matching = this.#grants().filter(isMatching);
    if (matching.length === 0 && this.mode === 'granted') return 'no grant matches';
    const withRole = matching.filter(({ roles }) => role === undefined || matchesAny(roles, role));
    if (role !== undefined && withRole.length === 0)
      return `no grant that matches lists the role ${sanitizeExternalText(role)}`;
    if (method !== 'GET' && !withRole.some(({ methods }) => methods.includes(method)))
      return `no grant that matches lists the method ${sanitizeExternalText(method)}`;
    return undefined;
  }
}

function matchesAny(globs: readonly NameGlob[], name: string): boolean {
  return globs.some((matches) => matches(name));
}

/**
 * A store, or a proxy in front of it, may resolve `a/../b`. A grant for `a/**` must not cover `b`.
 */
function isPlainName(name: string): boolean {
  if (name.length > maxNameLength) return false;
  return !/(^|\/)\.\.?(\/|$)/.test(name);
}

function notGrantedError(
  { workload, provider, service, name }: SharedIdentityRequest,
  cause: string,
  hint: string,
): SecretError {
  const subject = `service account ${sanitizeExternalText(workload.tenant)}/${sanitizeExternalText(workload.identity.name)}`;
  const target = sanitizeExternalText(`${service}/${name}`);
  return new SecretError(
    'NOT_GRANTED',
    `${provider}: ${subject} may not read ${target} by a shared identity: ${cause}`,
    { hint },
  );
}

/** What a denied user can do, in the terms of who runs Keyferry. */
function remedyOf({ mode, grantsFile, isByChart = false }: SharedIdentityOptions): string {
  if (mode === 'none') {
    const permit = isByChart
      ? 'set the chart value sharedIdentities.mode to granted'
      : 'start Keyferry with --shared-identities granted';
    return `give the workload an identity of its own, or ${permit}`;
  }
  const place = isByChart
    ? 'the chart value sharedIdentities.grants'
    : sanitizeExternalText(grantsFile ?? grantsFilePlaceholder);
  return `grant it in ${place}, or give the workload an identity of its own`;
}
