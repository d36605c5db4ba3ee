import type { Logger } from 'pino';
import { SecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import type { Workload } from '../../../core/workload.ts';
import {
  type SharedIdentityGrant,
  type SharedIdentityMetrics,
  createGrantsReader,
} from './grants-file.ts';
import type { NameGlob } from './name-glob.ts';

export { createSharedIdentityMetrics } from './grants-file.ts';

/** `--shared-identities`: `granted` what the grants file lists, `all` every secret, `none` nothing. */
export type SharedIdentityMode = 'granted' | 'all' | 'none';

/** What a workload wants from an identity that is not its own. */
export type SharedIdentityRequest = {
  readonly workload: Pick<Workload, 'tenant' | 'identity'>;
  /** The provider's name, as the class has it. */
  readonly provider: string;
  /** The ref's service. */
  readonly service: string;
  /** The ref's name, as it is sent to the store. */
  readonly name: string;
  /** A role to assume, where the class names one. */
  readonly role?: string | undefined;
  /** How the store is asked, for stores that know methods. Default GET. */
  readonly method?: string | undefined;
};

/** Decides who may be served by identities that are not the workload's own. */
export type SharedIdentity = {
  readonly mode: SharedIdentityMode;
  /** @throws SecretError NOT_GRANTED, naming who, what, and the ways out */
  check(request: SharedIdentityRequest): void;
};

/** No store has names near this length; a longer one is a tenant's attempt to keep the matcher busy. */
const maxNameLength = 4_096;

/** Where grants go while there is no file. */
const grantsFilePlaceholder = 'a file for --shared-identity-grants';

/**
 * Makes the one judge of shared identities of a process. The grants file is read at once, and again when a check comes a second or more after
 * the last look. One that is broken at the start is an error; one that breaks later is logged, and the last good grants stay.
 * @throws SecretError NOT_CONFIGURED
 */
export function createSharedIdentity({
  mode,
  grantsFile,
  log,
  now,
  metrics,
}: {
  readonly mode: SharedIdentityMode;
  readonly grantsFile?: string | undefined;
  readonly log: Logger;
  readonly now: () => number;
  readonly metrics?: SharedIdentityMetrics;
}): SharedIdentity {
  if (mode === 'all')
    log.warn(
      "--shared-identities all: every workload may read whatever this node's identities may read; for a migration only",
    );
  if (mode === 'granted' && grantsFile === undefined)
    log.info("no --shared-identity-grants: identities that are not a workload's own serve nobody");
  const grants =
    grantsFile === undefined || mode === 'none'
      ? () => []
      : createGrantsReader(grantsFile, { log, now, metrics });

  function denialReason(request: SharedIdentityRequest): string | undefined {
    const { workload, provider, service, name, role, method = 'GET' } = request;
    if (mode === 'none') return 'this node runs with --shared-identities none';
    // A role, or a method that may change something, must be in the operator's list in every mode.
    if (mode === 'all' && role === undefined && method === 'GET') return undefined;
    if (!isPlainName(name))
      return 'a name that long, or with "." or ".." as an element, is never granted';
    const qualifiedName = `${service}/${name}`;
    const isMatching = (grant: SharedIdentityGrant): boolean =>
      grant.provider === provider &&
      matchesAny(grant.namespaces, workload.tenant) &&
      matchesAny(grant.serviceAccounts, workload.identity.name) &&
      matchesAny(grant.names, qualifiedName);
    // Asked for every secret of every mount: most are plain reads.
    if (role === undefined && method === 'GET' && grants().some(isMatching)) return undefined;
    const matching = grants().filter(isMatching);
    if (matching.length === 0 && mode === 'granted') return 'no grant matches';
    const withRole = matching.filter(({ roles }) => role === undefined || matchesAny(roles, role));
    if (role !== undefined && withRole.length === 0)
      return `no grant that matches lists the role ${sanitizeExternalText(role)}`;
    if (method !== 'GET' && !withRole.some(({ methods }) => methods.includes(method)))
      return `no grant that matches lists the method ${sanitizeExternalText(method)}`;
    return undefined;
  }

  return {
    mode,
    check(request) {
      const cause = denialReason(request);
      if (cause !== undefined)
        throw notGrantedError(
          request,
          cause,
          mode === 'none' ? undefined : (grantsFile ?? grantsFilePlaceholder),
        );
    },
  };
}

function matchesAny(globs: readonly NameGlob[], name: string): boolean {
  return globs.some((matches) => matches(name));
}

/** A store, or a proxy before it, may resolve `a/../b`; a grant for `a/**` must not reach `b`. */
function isPlainName(name: string): boolean {
  if (name.length > maxNameLength) return false;
  return !/(^|\/)\.\.?(\/|$)/.test(name);
}

function notGrantedError(
  { workload, provider, service, name }: SharedIdentityRequest,
  cause: string,
  grantsFile: string | undefined,
): SecretError {
  const subject = `service account ${sanitizeExternalText(workload.tenant)}/${sanitizeExternalText(workload.identity.name)}`;
  const target = sanitizeExternalText(`${service}/${name}`);
  return new SecretError(
    'NOT_GRANTED',
    `${provider}: ${subject} may not read ${target} by a shared identity: ${cause}`,
    {
      hint:
        grantsFile === undefined
          ? 'give the workload an identity of its own, or start Keyferry with --shared-identities granted'
          : `grant it in ${sanitizeExternalText(grantsFile)}, or give the workload an identity of its own`,
    },
  );
}
