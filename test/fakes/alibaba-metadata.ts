import { randomBytes } from 'node:crypto';
import { alibabaTime, type AlibabaAccount, type AlibabaKeys } from './alibaba-account.ts';
import { startFakeServer, type FakeServer } from './http-server.ts';

/** The fake metadata service of an ECS instance. */
export type FakeAlibabaMetadata = FakeServer & {
  /** The current role and keys; `issue` replaces the keys. */
  current: { readonly keys: AlibabaKeys; readonly role: string | undefined; readonly code: string };
  issue(lifeMs: number): void;
};

/** Starts a fake metadata service. Like the real one, it serves plain HTTP. */
export async function startFakeAlibabaMetadata(options: {
  readonly account: AlibabaAccount;
  readonly region: string;
  /** `required`: it issues tokens and demands them. A status: its response to a token request. */
  readonly tokens?: 'required' | 403 | 404;
}): Promise<FakeAlibabaMetadata> {
  const { account, region, tokens = 'required' } = options;
  const issuedTokens = new Set<string>();
  const role = 'KubernetesWorkerRole-1234';
  const issueKeys = (lifeMs: number): AlibabaKeys =>
    account.issueKeys({ holder: 'worker', lifeMs });
  const server = await startFakeServer({
    handler({ method, path, headers }) {
      if (path === '/latest/api/token') {
        if (tokens !== 'required') return { status: tokens };
        const ttl = Number(headers['x-aliyun-ecs-metadata-token-ttl-seconds']);
        if (method !== 'PUT' || !(ttl >= 1 && ttl <= 21_600)) return { status: 400 };
        const token = randomBytes(20).toString('base64');
        issuedTokens.add(token);
        return { body: token };
      }
      if (
        tokens === 'required' &&
        !issuedTokens.has(String(headers['x-aliyun-ecs-metadata-token']))
      )
        return { status: 403 };
      if (path === '/latest/meta-data/region-id') return { body: region };
      const { keys, role: attachedRole, code } = metadata.current;
      const base = '/latest/meta-data/ram/security-credentials/';
      if (attachedRole !== undefined && path === base) return { body: attachedRole };
      if (attachedRole === undefined || path !== `${base}${attachedRole}`) return { status: 404 };
      return {
        body: {
          AccessKeyId: keys.accessKeyId,
          AccessKeySecret: keys.accessKeySecret,
          SecurityToken: keys.securityToken,
          Expiration: alibabaTime(keys.expiresAt),
          Code: code,
        },
      };
    },
  });
  const metadata: FakeAlibabaMetadata = Object.assign(server, {
    current: { keys: issueKeys(6 * 3_600_000), role, code: 'Success' },
    issue(lifeMs: number) {
      metadata.current = { ...metadata.current, keys: issueKeys(lifeMs) };
    },
  });
  return metadata;
}
