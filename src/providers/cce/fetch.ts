import { SecretError, toSecretError } from '../../errors/secret-error.ts';
import type { Budget } from '../../flow/budget.ts';
import type { SecretRef } from '../../plan/plan.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../provider.ts';
import type { Proving } from '../proving.ts';
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

/**
 * Reads each secret by a call of its own. (CSMS's batch call knows only SYSCURRENT, needs a permission of its own, and what it does about a
 * name that is missing or denied is not documented; with a burst of 200 calls it would gain nothing.)
 */
export function createFetch(deps: FetchDeps) {
  return (requests: readonly FetchRequest<CceCredential>[]): readonly Promise<FetchResult>[] =>
    requests.map(async (request): Promise<FetchResult> => {
      try {
        return { kind: 'value', value: await read(request, deps) };
      } catch (thrown) {
        const error = label(toSecretError(thrown), request.grant.ref, deps.region);
        return { kind: isAbsence(error) ? 'absent' : 'failed', error };
      }
    });
}

async function read(request: FetchRequest<CceCredential>, deps: FetchDeps): Promise<SecretValue> {
  const { urgency, signal, onStart } = request;
  const { ref, principal, workload } = request.grant;
  const { name, version = 'latest' } = ref;
  const credential = await principal.credentials(signal);
  const turn = async (): Promise<void> => {
    await deps.budget.take({ namespace: workload.namespace, urgency, signal });
    deps.proving.check(credential.digest);
    onStart();
  };
  try {
    return await deps.proving.run(credential.digest, signal, async () => {
      const project = await deps.projects.find(principal.fingerprint, credential, signal);
      return deps.csms.showVersion({ name, version, project, credential, signal, turn });
    });
  } catch (thrown) {
    if (toSecretError(thrown).code === 'CREDENTIALS_REFUSED')
      deps.credentials.refused(principal.fingerprint, credential);
    throw thrown;
  }
}

/** What the user needs to find it; errors from below name no secret, for they may be told to many. */
function label(error: SecretError, { name, version = 'latest' }: SecretRef, region: string): SecretError {
  return new SecretError(error.code, `cce: secret ${name} (${version}) in ${region}: ${error.message}`, {
    ...(error.hint !== undefined && { hint: error.hint }),
    ...(error.cause !== undefined && { cause: error.cause }),
  });
}

function isAbsence({ code }: SecretError): boolean {
  return code === 'OBJECT_NOT_FOUND' || code === 'OBJECT_DISABLED';
}
