import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { readBody } from '../../http/response.ts';
import { CredentialCache, type Expiring } from '../shared/credentials/credential-cache.ts';
import { classify } from '../shared/reads/store-errors.ts';
import type { ApiCall } from './call.ts';
import { projectErrors } from './errors.ts';
import { type CceCredential, secretsOf } from './types.ts';

const projectsResponse = z.object({
  projects: z.array(z.object({ id: z.string(), name: z.string() })),
});

type Project = Expiring & { readonly id: string };

/** See {@link Projects}. */
export type ProjectsOptions = {
  readonly call: ApiCall;
  readonly iam: URL;
  readonly region: string;
  /** From the operator: `find` returns it without a call. */
  readonly configuredId: string | undefined;
  /** The remedy: `set HUAWEICLOUD_SDK_PROJECT_ID`. */
  readonly hint: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** Finds the id of the project that an account has for a region. Never creates a project. */
export class Projects {
  readonly #options: ProjectsOptions;
  readonly #cache: CredentialCache<Project>;

  constructor(options: ProjectsOptions) {
    this.#options = options;
    this.#cache = new CredentialCache({ now: options.now });
  }

  /**
   * Looks the project up once for each identity.
   * @param fingerprint the principal's fingerprint, which identifies the account
   * @throws SecretError NOT_CONFIGURED, CREDENTIALS_REFUSED, and those of an outage
   */
  async find(fingerprint: string, credential: CceCredential, signal: AbortSignal): Promise<string> {
    const { configuredId } = this.#options;
    if (configuredId !== undefined) return configuredId;
    const project = await this.#cache.get(fingerprint, signal, (lookUpSignal) =>
      this.#lookUp(credential, lookUpSignal),
    );
    return project.id;
  }

  async #lookUp(credential: CceCredential, signal: AbortSignal): Promise<Project> {
    const { call, iam, region, hint: setting } = this.#options;
    const hint = `${setting}; the id is in the console under "My Credentials"`;
    const url = new URL('/v3/projects', iam);
    url.searchParams.set('name', region);
    const result = await call({ method: 'GET', url, credential, signal });
    if (result.error !== undefined)
      throw classify(
        projectErrors,
        result.error,
        { ...result.context, hint },
        secretsOf(credential),
      );
    const found = readBody(result.response, projectsResponse, 'IAM').projects.filter(
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
  }
}
