import { randomBytes } from 'node:crypto';
import type { AwsKeys } from './aws-account.ts';
import { startFakeServer, type FakeServer } from './http-server.ts';

/** The metadata service of an EC2 instance, version 2. */
export type FakeInstanceMetadata = FakeServer & {
  /** The keys of the instance profile. Undefined: the instance has no profile. */
  keys: AwsKeys | undefined;
};

/** Starts a metadata service that demands tokens. Like the real one, it serves plain HTTP. */
export async function startFakeInstanceMetadata(options: {
  readonly keys?: AwsKeys;
  readonly region: string;
}): Promise<FakeInstanceMetadata> {
  const tokens = new Set<string>();
  const role = 'web-host';
  const base = '/latest/meta-data/iam/security-credentials/';
  const server = await startFakeServer({
    handler({ method, path, headers }) {
      if (path === '/latest/api/token') {
        const ttl = Number(headers['x-aws-ec2-metadata-token-ttl-seconds']);
        if (method !== 'PUT' || !(ttl >= 1 && ttl <= 21_600)) return { status: 400 };
        const token = randomBytes(20).toString('base64');
        tokens.add(token);
        return { body: token };
      }
      if (!tokens.has(String(headers['x-aws-ec2-metadata-token']))) return { status: 401 };
      if (path === '/latest/meta-data/placement/region') return { body: options.region };
      if (metadata.keys === undefined) return { status: 404 };
      if (path === base) return { body: role };
      return path === `${base}${role}`
        ? { body: { Code: 'Success', ...keysBody(metadata.keys) } }
        : { status: 404 };
    },
  });
  const metadata: FakeInstanceMetadata = Object.assign(server, { keys: options.keys });
  return metadata;
}

/** Starts the endpoint that gives a container of ECS the keys of its task role. */
export function startFakeTaskRole(keys: AwsKeys, token: string): Promise<FakeServer> {
  return startFakeServer({
    handler: ({ headers }) =>
      headers.authorization === token ? { body: keysBody(keys) } : { status: 403 },
  });
}

function keysBody({ accessKeyId, secretAccessKey, sessionToken, expiresAt }: AwsKeys): object {
  return {
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    Token: sessionToken,
    Expiration: new Date(expiresAt).toISOString(),
  };
}
