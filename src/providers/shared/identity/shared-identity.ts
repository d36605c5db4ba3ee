import type { Logger } from 'pino';
import { SecretError } from '../../../core/errors.ts';
import type { SharedIdentityMode } from '../../../core/provider.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { Workload } from '../../../core/workload.ts';
import { GrantsFile, type SharedIdentityGrant, type SharedIdentityMetrics } from './grants-file.ts';
import type { NameGlob } from '../../../formats/name-glob.ts';

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
  /** The region, if it is not the one that the operator configured. */
  readonly region?: string | undefined;
  /** The endpoint, if it is not the one that the operator configured. */
  readonly endpoint?: string | undefined;
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
  /**
   * Where the chart runs Keyferry, the value that holds `mode` and `grants`: `sharedIdentities`,
   * with a prefix in a chart that depends on this one. Remedies then name it, and not flags.
   */
  readonly chartValue?: string | undefined;
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
    const { workload, provider, service, name } = request;
    if (this.mode === 'none') return 'this node runs with --shared-identities none';
    const demands = demandsOf(request, this.mode);
    if (this.mode === 'all' && demands.length === 0) return undefined;
    if (!isPlainName(name))
      return 'a name that long, or with "." or ".." as an element, is never granted';
    const qualifiedName = `${service}/${name}`;
    const isMatching = (grant: SharedIdentityGrant): boolean =>
      grant.provider === provider &&
      matchesAny(grant.namespaces, workload.tenant) &&
      matchesAny(grant.serviceAccounts, workload.identity.name) &&
      matchesAny(grant.names, qualifiedName);
    // Each mount checks each of its secrets, and most checks are for plain reads.
    if (demands.length === 0 && this.#grants().some(isMatching)) return undefined;
    let matching = this.#grants().filter(isMatching);
    if (matching.length === 0 && this.mode === 'granted') return 'no grant matches';
    // One grant must allow all of it.
    for (const { what, value, isAllowedBy } of demands) {
      matching = matching.filter(isAllowedBy);
      if (matching.length === 0)
        return `no grant that matches lists the ${what} ${sanitizeUserText(value)}`;
    }
    return undefined;
  }
}

/** Something that a grant must list. */
type Demand = {
  readonly what: string;
  readonly value: string;
  readonly isAllowedBy: (grant: SharedIdentityGrant) => boolean;
};

/**
 * Every mode demands a grant for a role, and for a method that may change something. `all` does not
 * for a region or an endpoint.
 */
function demandsOf(
  { role, method = 'GET', region, endpoint }: SharedIdentityRequest,
  mode: SharedIdentityMode,
): readonly Demand[] {
  const demands: Demand[] = [];
  const add = (
    key: 'roles' | 'regions' | 'endpoints',
    what: string,
    value: string | undefined,
  ): void => {
    if (value === undefined) return;
    demands.push({ what, value, isAllowedBy: (grant) => matchesAny(grant[key], value) });
  };
  add('roles', 'role', role);
  if (method !== 'GET')
    demands.push({
      what: 'method',
      value: method,
      isAllowedBy: ({ methods }) => methods.includes(method),
    });
  if (mode === 'all') return demands;
  add('regions', 'region', region);
  add('endpoints', 'endpoint', endpoint);
  return demands;
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
  const subject = `service account ${sanitizeUserText(workload.tenant)}/${sanitizeUserText(workload.identity.name)}`;
  const target = sanitizeUserText(`${service}/${name}`);
  return new SecretError(
    'NOT_GRANTED',
    `${provider}: ${subject} may not read ${target} by a shared identity: ${cause}`,
    { hint },
  );
}

/** What a denied user can do, in the terms of who runs Keyferry. */
function remedyOf({ mode, grantsFile, chartValue }: SharedIdentityOptions): string {
  if (mode === 'none') {
    const permit =
      chartValue === undefined
        ? 'start Keyferry with --shared-identities granted'
        : `set the chart value ${chartValue}.mode to granted`;
    return `give the workload an identity of its own, or ${permit}`;
  }
  const place =
    chartValue === undefined
      ? sanitizeUserText(grantsFile ?? grantsFilePlaceholder)
      : `the chart value ${chartValue}.grants`;
  return `grant it in ${place}, or give the workload an identity of its own`;
}
