import type * as SecretsManager from '@aws-sdk/client-secrets-manager';
import type * as Ssm from '@aws-sdk/client-ssm';
import type * as Sts from '@aws-sdk/client-sts';
import { LRUCache } from 'lru-cache';
import type { HttpClient } from '../../http/client.ts';
import { regionHost } from '../../http/endpoint.ts';
import type { AwsCloudConfig } from './config.ts';
import { createRequestHandler } from './request-handler.ts';
import { type AwsCredential, credentialDigest } from './types.ts';

/**
 * With EKS Pod Identity each of the 110 pods of a usual node is a principal. A client takes 12 KB,
 * and 0.2 ms to create.
 */
const maxClients = 128;

/** A client of a service, and the module that has its commands. */
type Service<Module, Client> = { readonly module: Module; readonly client: Client };

/** The principal that a client is for. */
export type ClientOwner = {
  readonly region: string;
  /** The principal's fingerprint. */
  readonly fingerprint: string;
  readonly credential: AwsCredential;
};

/**
 * The SDK's clients, one for each service, region and principal. The code of a service is loaded at
 * its first use.
 */
export type Sdk = {
  /** @throws SecretError INVALID_CLASS if the region is invalid; so do the others */
  secretsManager(
    owner: ClientOwner,
  ): Promise<Service<typeof SecretsManager, SecretsManager.SecretsManagerClient>>;
  ssm(owner: ClientOwner): Promise<Service<typeof Ssm, Ssm.SSMClient>>;
  /** For calls without a signature. */
  sts(region: string): Promise<Service<typeof Sts, Sts.STSClient>>;
};

type CachedClient = { readonly digest: string; readonly client: { destroy(): void } };

/** See {@link Sdk}. */
export function createSdk({
  config,
  http,
}: {
  readonly config: Pick<AwsCloudConfig, 'secretsManager' | 'ssm' | 'sts' | 'fips' | 'dualstack'>;
  readonly http: HttpClient;
}): Sdk {
  const requestHandler = createRequestHandler(http);
  const clients = new LRUCache<string, CachedClient>({
    max: maxClients,
    dispose: ({ client }) => client.destroy(),
  });

  /**
   * Sets everything that the SDK would otherwise read from the environment and `~/.aws`, because
   * those are not about the pod. The region is validated, because it becomes part of the host.
   */
  const settings = (region: string, endpoint: URL | undefined) => ({
    region: regionHost('{region}', region),
    ...(endpoint !== undefined && { endpoint: endpoint.href }),
    ignoreConfiguredEndpointUrls: true,
    // An endpoint of the operator is used as it is.
    useFipsEndpoint: endpoint === undefined && config.fips,
    useDualstackEndpoint: endpoint === undefined && config.dualstack,
    requestHandler,
    // Only `retry` in call.ts retries.
    ...{ maxAttempts: 1, retryMode: 'standard' },
    authSchemePreference: [],
    userAgentAppId: async () => undefined,
    defaultUserAgentProvider: async () => [['keyferry'] as [string]],
  });

  const cachedClient = <Client extends { destroy(): void }>(
    key: string,
    digest: string,
    create: () => Client,
  ): Client => {
    const cached = clients.get(key);
    if (cached?.digest === digest) return cached.client as Client;
    const client = create();
    clients.set(key, { digest, client });
    return client;
  };

  const clientOf = <Client extends { destroy(): void }>(
    service: string,
    { region, fingerprint, credential }: ClientOwner,
    create: (credentials: ReturnType<typeof toSdkCredentials>) => Client,
  ): Client =>
    cachedClient(`${service} ${region} ${fingerprint}`, credentialDigest(credential), () =>
      create(toSdkCredentials(credential)),
    );

  const loadSecretsManager = loadOnce(() => import('@aws-sdk/client-secrets-manager'));
  const loadSsm = loadOnce(() => import('@aws-sdk/client-ssm'));
  const loadSts = loadOnce(() => import('@aws-sdk/client-sts'));

  return {
    async secretsManager(owner) {
      const module = await loadSecretsManager();
      const client = clientOf(
        'secretsmanager',
        owner,
        (credentials) =>
          new module.SecretsManagerClient({
            ...settings(owner.region, config.secretsManager),
            credentials,
          }),
      );
      return { module, client };
    },
    async ssm(owner) {
      const module = await loadSsm();
      const client = clientOf(
        'ssm',
        owner,
        (credentials) =>
          new module.SSMClient({ ...settings(owner.region, config.ssm), credentials }),
      );
      return { module, client };
    },
    async sts(region) {
      const module = await loadSts();
      const client = cachedClient(
        `sts ${region}`,
        '',
        () => new module.STSClient(settings(region, config.sts)),
      );
      return { module, client };
    },
  };
}

/**
 * In the bundle each `import()` creates a new namespace object, name by name. A module of the SDK
 * has more than a thousand names, so that this takes more CPU than a call.
 */
function loadOnce<Module>(load: () => Promise<Module>): () => Promise<Module> {
  let loaded: Module | undefined;
  return async () => (loaded ??= await load());
}

/** The keys in the shape that the SDK expects. */
function toSdkCredentials({ accessKeyId, secretAccessKey, sessionToken }: AwsCredential) {
  return {
    accessKeyId,
    secretAccessKey: secretAccessKey.reveal(),
    ...(sessionToken !== undefined && { sessionToken: sessionToken.reveal() }),
  };
}
