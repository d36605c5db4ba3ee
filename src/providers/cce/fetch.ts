import type { FetchRequest, FetchResult } from '../../core/provider.ts';
import type { AuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { toReadResult } from '../shared/reads/read-result.ts';
import type { CsmsClient } from './csms.ts';
import type { Projects } from './projects.ts';
import type { CceCredential } from './types.ts';

/** See {@link createFetch}. */
export type FetchDeps = {
  readonly csms: CsmsClient;
  readonly projects: Projects;
  readonly authenticatedCall: AuthenticatedCall<CceCredential>;
  /** For messages, as the region. */
  readonly provider: string;
  readonly region: string;
};

type Request = FetchRequest<CceCredential>;

/** Reads each secret with a call of its own (docs/adr/0011). */
export function createFetch(deps: FetchDeps) {
  const { csms, projects, authenticatedCall, provider, region } = deps;

  const readSecret = async (request: Request): Promise<FetchResult> => {
    const { name, version = 'latest' } = request.grant.ref;
    const value = await authenticatedCall(request, async (context) => {
      const { fingerprint, credential, signal, beforeAttempt } = context;
      const project = await projects.find(fingerprint, credential, signal);
      return csms.showVersion({ name, version, project, credential, signal, beforeAttempt });
    });
    return { kind: 'value', value };
  };

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] =>
    requests.map((request) => {
      const { name, version = 'latest' } = request.grant.ref;
      return toReadResult(
        readSecret(request),
        `${provider}: secret ${name} (${version}) in ${region}`,
      );
    });
}
