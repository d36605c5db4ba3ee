import { SignatureV4 } from '@smithy/signature-v4';
import { type BinaryLike, createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';
import { type BareRequest, serveBare } from './bare-grpc.ts';

/**
 * The baseline of mounts by EKS Pod Identity: grpc-js, undici and AWS's own signer, and nothing
 * else. Each mount asks the Pod Identity agent for a session and reads the secrets with it.
 * argv: socket path, origin of the agent, origin of Secrets Manager, CA file, region, names.
 */
const [socketPath = '', agentUrl = '', storeUrl = '', caFile = '', region = '', names = ''] =
  process.argv.slice(2);
const dispatcher = new Agent({ connections: 100, connect: { ca: readFileSync(caFile, 'utf8') } });

type Session = {
  readonly AccessKeyId: string;
  readonly SecretAccessKey: string;
  readonly Token: string;
};

class Sha256 {
  readonly #hash: ReturnType<typeof createHash> | ReturnType<typeof createHmac>;

  constructor(key?: unknown) {
    this.#hash = key === undefined ? createHash('sha256') : createHmac('sha256', key as BinaryLike);
  }

  update(data: Uint8Array): void {
    this.#hash.update(data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
}

async function openSession(token: string): Promise<Session> {
  const { body } = await request(new URL('/v1/credentials', agentUrl), {
    ...{ dispatcher, headers: { authorization: token } },
  });
  return (await body.json()) as Session;
}

async function readSecrets({ AccessKeyId, SecretAccessKey, Token }: Session): Promise<object[]> {
  const secrets = names.split(',');
  const isSingle = secrets.length === 1;
  const url = new URL(storeUrl);
  const signer = new SignatureV4({
    ...{ service: 'secretsmanager', region, sha256: Sha256 },
    credentials: {
      ...{ accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: Token },
    },
  });
  const unsigned = {
    ...{ method: 'POST', protocol: url.protocol, hostname: url.host, path: '/' },
    headers: {
      host: url.host,
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': `secretsmanager.${isSingle ? '' : 'Batch'}GetSecretValue`,
    },
    body: JSON.stringify(isSingle ? { SecretId: names } : { SecretIdList: secrets }),
  };
  const { headers } = await signer.sign(unsigned);
  const { body } = await request(url, {
    ...{ dispatcher, method: 'POST', headers, body: unsigned.body },
  });
  const response = (await body.json()) as { SecretValues?: object[] };
  return response.SecretValues ?? [response];
}

async function mount({ attributes }: BareRequest): Promise<object> {
  const { 'csi.storage.k8s.io/serviceAccount.tokens': tokens = '{}' } = JSON.parse(
    attributes,
  ) as Record<string, string>;
  const { 'pods.eks.amazonaws.com': podToken } = JSON.parse(tokens) as Record<
    string,
    { readonly token: string }
  >;
  const secrets = (await readSecrets(await openSession(podToken?.token ?? ''))) as {
    readonly Name: string;
    readonly VersionId: string;
    readonly SecretString: string;
  }[];
  return {
    files: secrets.map(({ Name, SecretString }) => ({
      ...{ path: Name, mode: 0o644, contents: Buffer.from(SecretString) },
    })),
    objectVersion: secrets.map(({ Name, VersionId }) => ({ id: Name, version: VersionId })),
  };
}

serveBare(socketPath, mount);
