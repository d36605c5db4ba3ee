import type { Budget } from '../../flow/budget.ts';
import { createAttempts } from '../attempts.ts';
import type { FetchRequest, FetchResult } from '../provider.ts';
import type { Proving } from '../proving.ts';
import { settle } from '../settle.ts';
import type { Csms } from './client.ts';
import type { Credentials } from './credentials.ts';
import type { CceCredential } from './credentials/credential.ts';
import type { Projects } from './projects.ts';

/** See {@link createFetch}. */
export type FetchDeps = {
  readonly csms: Csms;
  readonly credentials: Pick<Credentials, 'refused'>;
  readonly projects: Projects;
  readonly proving: Proving;
  readonly budget: Budget;
  /** For messages. */
  readonly region: string;
};

type Request = FetchRequest<CceCredential>;

/** Reads each secret by a call of its own (docs/adr/0011). */
export function createFetch({ csms, projects, budget, region, ...deps }: FetchDeps) {
  const attempts = createAttempts<CceCredential>({
    ...deps,
    digestOf: ({ digest }) => digest,
    budgetOf: () => budget,
  });

  const read = async (request: Request): Promise<FetchResult> => {
    const { name, version = 'latest' } = request.grant.ref;
    const value = await attempts(request, async ({ principal, credential, signal, turn }) => {
      const project = await projects.find(principal, credential, signal);
      return csms.showVersion({ name, version, project, credential, signal, turn });
    });
    return { kind: 'value', value };
  };

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] =>
    requests.map((request) => {
      const { name, version = 'latest' } = request.grant.ref;
      return settle(read(request), `cce: secret ${name} (${version}) in ${region}`);
    });
}
