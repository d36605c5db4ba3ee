import type * as SecretsManager from '@aws-sdk/client-secrets-manager';
import type * as Ssm from '@aws-sdk/client-ssm';
import type * as Sts from '@aws-sdk/client-sts';
import { LRUCache } from 'lru-cache';
import { regionHost } from '../../http/endpoint.ts';
import type { Http } from '../../http/http.ts';
import type { AwsCloudConfig } from './config-type.ts';
import { credentialDigest } from './credentials/credential.ts';
import type { AwsCredential } from './identity.ts';
import { createRequestHandler } from './request-handler.ts';

/** With Pod Identity each of the 110 pods of a usual node is a principal of its own. A client takes 12 KB, and 0.2 ms to be made anew. */
const maxClients = 128;

/** A service's client beside the commands it understands. */
type Service<Module, Client> = { readonly module: Module; readonly client: Client };

/** Whose client it is. */
export type ClientOwner = {
  readonly region: string;
  /** The principal's fingerprint. */
  readonly principal: string;
  readonly credential: AwsCredential;
};

/** The vendor's clients, each loaded when its service is first asked; one for each region and principal. */
export type Sdk = {
  /** @throws SecretError INVALID_CLASS for what is no region; so for all */
  secretsManager(
    owner: ClientOwner,
  ): Promise<Service<typeof SecretsManager, SecretsManager.SecretsManagerClient>>;
  ssm(owner: ClientOwner): Promise<Service<typeof Ssm, Ssm.SSMClient>>;
  /** For what is asked without a signature. */
  sts(region: string): Promise<Service<typeof Sts, Sts.STSClient>>;
};

type Kept = { readonly digest: string; readonly client: { destroy(): void } };

/** See {@link Sdk}. */
export function createSdk({
  config,
  http,
}: {
  readonly config: Pick<AwsCloudConfig, 'secretsManager' | 'ssm' | 'sts' | 'fips' | 'dualstack'>;
  readonly http: Http;
}): Sdk {
  const requestHandler = createRequestHandler(http);
  const clients = new LRUCache<string, Kept>({
    max: maxClients,
    dispose: ({ client }) => client.destroy(),
  });

  /**
   * All that the SDK would otherwise look for in the environment and in `~/.aws`: it must find nothing there. Hosts are made from the region,
   * so that must be one.
   */
  const settings = (region: string, endpoint: URL | undefined) => ({
    region: regionHost('{region}', region),
    ...(endpoint !== undefined && { endpoint: endpoint.href }),
    ignoreConfiguredEndpointUrls: true,
    // An address of the operator's own stands for itself.
    useFipsEndpoint: endpoint === undefined && config.fips,
    useDualstackEndpoint: endpoint === undefined && config.dualstack,
    requestHandler,
    // There is one layer that tries again: ours.
    ...{ maxAttempts: 1, retryMode: 'standard' },
    authSchemePreference: [],
    userAgentAppId: async () => undefined,
    defaultUserAgentProvider: async () => [['keyferry'] as [string]],
  });

  const keep = <Client extends { destroy(): void }>(
    key: string,
    digest: string,
    create: () => Client,
  ): Client => {
    const known = clients.get(key);
    if (known?.digest === digest) return known.client as Client;
    const client = create();
    clients.set(key, { digest, client });
    return client;
  };

  const clientOf = <Client extends { destroy(): void }>(
    service: string,
    { region, principal, credential }: ClientOwner,
    create: (credentials: ReturnType<typeof plain>) => Client,
  ): Client =>
    keep(`${service} ${region} ${principal}`, credentialDigest(credential), () => create(plain(credential)));

  const secretsManager = once(() => import('@aws-sdk/client-secrets-manager'));
  const ssm = once(() => import('@aws-sdk/client-ssm'));
  const sts = once(() => import('@aws-sdk/client-sts'));

  return {
    async secretsManager(owner) {
      const module = await secretsManager();
      const client = clientOf(
        'secretsmanager',
        owner,
        (credentials) =>
          new module.SecretsManagerClient({ ...settings(owner.region, config.secretsManager), credentials }),
      );
      return { module, client };
    },
    async ssm(owner) {
      const module = await ssm();
      const client = clientOf(
        'ssm',
        owner,
        (credentials) => new module.SSMClient({ ...settings(owner.region, config.ssm), credentials }),
      );
      return { module, client };
    },
    async sts(region) {
      const module = await sts();
      const client = keep(`sts ${region}`, '', () => new module.STSClient(settings(region, config.sts)));
      return { module, client };
    },
  };
}

/** In the bundle each `import()` makes a namespace anew, name by name: with more than a thousand names, more CPU than a call takes. */
function once<Module>(load: () => Promise<Module>): () => Promise<Module> {
  let loaded: Module | undefined;
  return async () => (loaded ??= await load());
}

/** As the SDK wants them. */
function plain({ accessKeyId, secretAccessKey, sessionToken }: AwsCredential) {
  return {
    accessKeyId,
    secretAccessKey: secretAccessKey.reveal(),
    ...(sessionToken !== undefined && { sessionToken: sessionToken.reveal() }),
  };
}
