import { raceWithAbort } from '../../../concurrency/deadline.ts';
import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { HttpClient } from '../../../http/client.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import { defaultChainErrors, parseThrownError } from '../errors.ts';
import type { AwsTexts } from '../texts.ts';
import type { AwsCredential, ChainMethod, DefaultChainSource } from '../types.ts';
import { type AwsRequestHandler, createRequestHandler } from './request-handler.ts';

/** Shares a rate limiter between keys whose account is not known. */
const unknownAccount = "Keyferry's own account";

type ChainInit = {
  readonly clientConfig: {
    readonly region: string;
    readonly requestHandler: AwsRequestHandler;
    readonly maxAttempts: number;
  };
};

/** What the SDK returns. */
type SdkKeys = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
  readonly accountId?: string;
};

/** The whole chain, and its links for a host. Each result is for one login: it caches. */
const chains: Readonly<Record<ChainMethod, (init: ChainInit) => Promise<() => Promise<SdkKeys>>>> =
  {
    async default(init) {
      const { defaultProvider } = await import('@aws-sdk/credential-provider-node');
      return defaultProvider(init);
    },
    async environment() {
      const { fromEnv } = await import('@aws-sdk/credential-provider-env');
      return fromEnv();
    },
    async task_role() {
      const { fromHttp } = await import('@aws-sdk/credential-provider-http');
      return fromHttp();
    },
    async instance_profile() {
      const { fromInstanceMetadata } = await import('@smithy/credential-provider-imds');
      return fromInstanceMetadata();
    },
  };

/**
 * Obtains the identity of this process from the SDK's default credential chain: environment,
 * `~/.aws`, web identity, EKS Pod Identity or ECS, the metadata of the instance. In Kubernetes used
 * only where the operator switched it on. The chain's calls to AWS's services use Keyferry's HTTP
 * client.
 */
export function createDefaultChain({
  http,
  now,
  texts,
}: {
  readonly http: HttpClient;
  readonly now: () => number;
  readonly texts: AwsTexts;
}) {
  const requestHandler = createRequestHandler(http);

  return async (
    { method, region }: DefaultChainSource & { readonly region: string },
    signal: AbortSignal,
  ): Promise<AwsCredential> => {
    try {
      const clientConfig = { region, requestHandler, maxAttempts: 1 };
      const provide = await chains[method]({ clientConfig });
      const keys = await raceWithAbort(provide(), signal);
      return {
        accessKeyId: keys.accessKeyId,
        secretAccessKey: new Redacted(keys.secretAccessKey),
        ...(keys.sessionToken !== undefined && { sessionToken: new Redacted(keys.sessionToken) }),
        ...(keys.expiration !== undefined && { expiresAt: keys.expiration.getTime() }),
        account: keys.accountId ?? unknownAccount,
      };
    } catch (thrown) {
      signal.throwIfAborted();
      if (thrown instanceof SecretError) throw thrown;
      const response = parseThrownError(thrown, now());
      if (response.code !== undefined)
        throw classify(defaultChainErrors, response, { service: 'STS', region, texts }, []);
      // Leaves out the text of the chain, which quotes files and addresses.
      const { message, hint } = texts.noCredentials(method);
      throw new SecretError('NOT_CONFIGURED', message, { hint });
    }
  };
}
