import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { createCredentialCache, type Expiring } from '../shared/credentials/credential-cache.ts';
import { readBody } from '../../http/response.ts';
import { isCredentialRejection, type Api } from './api.ts';
import { secretsOf, type CceCredential } from './types.ts';
import { describeCceErrorResponse, parseCceErrorResponse } from './errors.ts';

const hint = 'set HUAWEICLOUD_SDK_PROJECT_ID; the id is in the console under "My Credentials"';

const projectsResponse = z.object({
  projects: z.array(z.object({ id: z.string(), name: z.string() })),
});

type Project = Expiring & { readonly id: string };

/** The id of the project that an account has for a region. */
export type Projects = {
  /**
   * Looked up once for an identity. Never creates one.
   * @param identity what stands for the account: a principal's fingerprint
   */
  find(identity: string, credential: CceCredential, signal: AbortSignal): Promise<string>;
};

/** Answers `configured` where the operator gave an id. */
export function createProjects(deps: {
  readonly api: Api;
  readonly iam: URL;
  readonly region: string;
  readonly configuredId: string | undefined;
  readonly now: () => number;
}): Projects {
  const { api, iam, region, configuredId, now } = deps;
  const cache = createCredentialCache<Project>({ now });

  const lookUpProject = async (
    credential: CceCredential,
    signal: AbortSignal,
  ): Promise<Project> => {
    const url = new URL('/v3/projects', iam);
    url.searchParams.set('name', region);
    const response = await api.call({ method: 'GET', url, credential, signal });
    if (isCredentialRejection(response)) throw api.credentialsRefusedError(response, credential);
    if (response.status !== 200) {
      const description = describeCceErrorResponse(
        parseCceErrorResponse(response),
        secretsOf(credential),
      );
      throw new SecretError(
        'NOT_CONFIGURED',
        `${credential.owner} may not look up the project's id ${description}`,
        {
          hint: `grant iam:projects:listProjects, or ${hint}`,
        },
      );
    }
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
