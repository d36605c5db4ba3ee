import { randomBytes } from 'node:crypto';
import { startFakeServer, type FakeServer } from './http-server.ts';
import { huaweiTime } from './huawei-iam.ts';
import type { HuaweiAccount, HuaweiKeys } from './huawei-account.ts';

/** A fake metadata service of an ECS. */
export type FakeMetadata = FakeServer & {
  /** Invalidates all tokens, as a restart does. */
  clearTokens(): void;
  /** Replaces the keys. */
  rotateKeys(): void;
  /** Whether the ECS has an agency. */
  hasAgency: boolean;
  /** The present keys. */
  readonly keys: HuaweiKeys;
};

/** Starts a fake metadata service, over plain HTTP like the real one. */
export async function startFakeMetadata(options: {
  readonly account: HuaweiAccount;
  /** `required`: the service gives tokens and demands one. A status: it gives none. */
  readonly tokens?: 'required' | 404 | 405 | 503;
  readonly keyLifetimeMs?: number;
  /** Where the ECS is. Default: the service does not describe it. */
  readonly place?: { readonly region: string; readonly project: string };
}): Promise<FakeMetadata> {
  const { account, tokens = 'required', keyLifetimeMs = 24 * 3_600_000, place } = options;
  const issuedTokens = new Set<string>();
  let keys = account.issueKeys(keyLifetimeMs);
  const server = await startFakeServer({
    handler({ method, path, headers }) {
      if (path === '/meta-data/latest/api/token') {
        if (tokens !== 'required') return { status: tokens };
        if (method !== 'PUT' || headers['x-metadata-token-ttl-seconds'] !== '21600')
          return { status: 400 };
        const token = randomBytes(20).toString('base64');
        issuedTokens.add(token);
        return { body: token };
      }
      const isDescription = path === '/openstack/latest/meta_data.json' && place !== undefined;
      if (method !== 'GET' || (path !== '/openstack/latest/securitykey' && !isDescription))
        return { status: 404 };
      if (tokens === 'required' && !issuedTokens.has(String(headers['x-metadata-token'])))
        return { status: 401, body: { error: { code: 401, message: 'Invalid token' } } };
      if (isDescription)
        return {
          body: { uuid: 'ecs-1', region_id: place.region, project_id: place.project, meta: {} },
        };
      if (!metadata.hasAgency)
        return {
          status: 401,
          body: { error: { message: 'Please configure Cloud Service Agency first' } },
        };
      const { access, secret, securitytoken, expiresAt } = keys;
      return {
        body: { credential: { access, secret, securitytoken, expires_at: huaweiTime(expiresAt) } },
      };
    },
  });
  const metadata: FakeMetadata = Object.defineProperty(
    Object.assign(server, {
      hasAgency: true,
      clearTokens: () => issuedTokens.clear(),
      rotateKeys: () => void (keys = account.issueKeys(keyLifetimeMs)),
    }) as unknown as FakeMetadata,
    'keys',
    { get: () => keys },
  );
  return metadata;
}
