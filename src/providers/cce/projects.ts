import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { CredentialCache, type Expiring } from '../shared/credentials/credential-cache.ts';
import { readBody } from '../../http/response.ts';
import { classify } from '../shared/reads/store-errors.ts';
import type { Api } from './api.ts';
import { projectErrors } from './errors.ts';
import { type CceCredential, secretsOf } from './types.ts';

const hint = 'set HUAWEICLOUD_SDK_PROJECT_ID; the id is in the console under "My Credentials"';

const projectsResponse = z.object({
  projects: z.array(z.object({ id: z.string(), name: z.string() })),
});

type Project = Expiring & { readonly id: string };

/** Finds the id of the project that an account has for a region. */
export type Projects = {
  /**
   * Looks the project up once for each identity. Never creates a project.
   * @param identity the principal's fingerprint, which stands for the account
   * @throws SecretError NOT_CONFIGURED, CREDENTIALS_REFUSED, and those of an outage
   */
  find(identity: string, credential: CceCredential, signal: AbortSignal): Promise<string>;
};

/** Returns `configuredId` where the operator gave one. */
export function createProjects(deps: {
  readonly api: Api;
  readonly iam: URL;
  readonly region: string;
  readonly configuredId: string | undefined;
  readonly now: () => number;
}): Projects {
  const { api, iam, region, configuredId, now } = deps;
  const cache = new CredentialCache<Project>({ now });

  const lookUpProject = async (
    credential: CceCredential,
    signal: AbortSignal,
  ): Promise<Project> => {
    const url = new URL('/v3/projects', iam);
    url.searchParams.set('name', region);
    const result = await api.call({ method: 'GET', url, credential, signal });
    if (result.error !== undefined)
      throw classify(projectErrors, result.error, result.context, secretsOf(credential));
    const { response } = result;
    const found = readBody(response, projectsResponse, 'IAM').projects.filter(
      ({ name }) => name === region,
    );
    const [project] = found;
    if (project === undefined || found.length > 1)
      throw new SecretError(
        'NOT_CONFIGURED',
        `${credential.owner} sees ${found.length} projects for ${region}, not one`,
        { hint },
      );
    return { id: project.id };
  };

  return {
    async find(identity, credential, signal) {
      if (configuredId !== undefined) return configuredId;
      return (
        await cache.get(identity, signal, (lookUpSignal) => lookUpProject(credential, lookUpSignal))
      ).id;
    },
  };
}
