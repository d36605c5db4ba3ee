import type * as SecretsManager from '@aws-sdk/client-secrets-manager';
import type * as Ssm from '@aws-sdk/client-ssm';
import type * as Sts from '@aws-sdk/client-sts';
import { LRUCache } from 'lru-cache';
import { isUtf8 } from 'node:buffer';
import { SecretError } from '../../core/errors.ts';
import type { HttpClient, HttpResponse } from '../../http/client.ts';
import { regionHost } from '../../http/endpoint.ts';
import { type AwsCloudConfig, type AwsCredential, credentialDigest } from './types.ts';

/** A request as the SDK hands it over, signed. Its services put nothing into a query. */
type SdkRequest = {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
};

/** The SDK's way out, in the shape it expects. */
export type AwsRequestHandler = {
  readonly metadata: { readonly handlerProtocol: string };
  handle(
    request: SdkRequest,
    options?: { readonly abortSignal?: unknown },
  ): Promise<{
    readonly response: {
      readonly statusCode: number;
      readonly headers: Record<string, string>;
      readonly body: Uint8Array;
    };
  }>;
  updateHttpClientConfig(): void;
  httpHandlerConfigs(): Record<string, never>;
  destroy(): void;
};

/**
 * Lets the SDK's clients ask by our own door: proxies, authorities, deadlines, body caps and connections are those of every provider. It owns
 * nothing, so a client that is destroyed breaks nobody's connection.
 */
export function createRequestHandler(http: HttpClient): AwsRequestHandler {
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle({ protocol, hostname, port, path, method, headers, body }, { abortSignal } = {}) {
      const url = new URL(`${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`);
      const signal =
        abortSignal instanceof AbortSignal ? abortSignal : new AbortController().signal;
      const answer = await http.request({
        ...{ method, url, headers, signal },
        ...(body !== undefined && { body }),
      });
      return { response: responseOf(answer, url) };
    },
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
    destroy: () => undefined,
  };
}

/** The SDK would read what is no UTF-8 with replacement characters in it. */
function responseOf({ status, headers, body }: HttpResponse, { host }: URL) {
  if (!isUtf8(body))
    throw new SecretError('STORE_ANSWER_INVALID', `${host} answered with what is no UTF-8`);
  return { statusCode: status, headers, body };
}

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
  readonly http: HttpClient;
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
    keep(`${service} ${region} ${principal}`, credentialDigest(credential), () =>
      create(plain(credential)),
    );

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
          new module.SecretsManagerClient({
            ...settings(owner.region, config.secretsManager),
            credentials,
          }),
      );
      return { module, client };
    },
    async ssm(owner) {
      const module = await ssm();
      const client = clientOf(
        'ssm',
        owner,
        (credentials) =>
          new module.SSMClient({ ...settings(owner.region, config.ssm), credentials }),
      );
      return { module, client };
    },
    async sts(region) {
      const module = await sts();
      const client = keep(
        `sts ${region}`,
        '',
        () => new module.STSClient(settings(region, config.sts)),
      );
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
