import { randomBytes } from 'node:crypto';
import type { TlsOptions } from 'node:tls';
import {
  startFakeServer,
  type FakeResponse,
  type FakeRequest,
  type FakeServer,
} from './http-server.ts';
import type { HuaweiAccount } from './huawei-account.ts';

/** A time with as many fractional digits as the real services write. */
export function huaweiTime(at: number): string {
  return new Date(at).toISOString().replace('Z', '000Z');
}

/** A fake IAM: the list of projects, IAM tokens for ID tokens, and keys for IAM tokens. */
export type FakeIam = FakeServer & {
  /** The number of attempts to create a project. */
  readonly created: number;
};

/** Starts a fake IAM with one identity provider. It accepts one ID token at a time. */
export async function startFakeIam(options: {
  readonly account: HuaweiAccount;
  readonly idpId?: string;
  /** The latest token of the identity provider. */
  readonly idToken?: () => string;
  readonly keyLifetimeMs?: number;
  readonly tls: TlsOptions;
}): Promise<FakeIam> {
  const { account, idpId, idToken, keyLifetimeMs = 6 * 3_600_000, tls } = options;
  const iamTokens = new Set<string>();
  let created = 0;

  const jsonResponse = (status: number, body: object, headers = {}): FakeResponse => ({
    status,
    headers: { 'x-iam-trace-id': 'iam-1', ...headers },
    body,
  });
  const errorResponse = (status: number, message: string): FakeResponse =>
    jsonResponse(status, { error: { code: status, message, title: 'Unauthorized' } });

  const routes: Record<string, (request: FakeRequest) => FakeResponse> = {
    'GET /v3/projects': (request) => {
      const authError = account.authErrorResponse(request);
      if (authError !== undefined) return authError;
      const name = new URLSearchParams(request.query).get('name');
      return jsonResponse(200, {
        projects: account.projects.filter((project) => project.name === name),
      });
    },
    'POST /v3/projects': () => {
      created += 1;
      return errorResponse(403, 'no');
    },
    'POST /v3.0/OS-AUTH/id-token/tokens': ({ headers, body }) => {
      const { auth } = JSON.parse(body.toString()) as { auth?: { id_token?: { id?: string } } };
      const id = auth?.id_token?.id;
      if (headers['x-idp-id'] !== idpId || id !== idToken?.())
        return errorResponse(401, `The token ${id} is not valid`);
      const token = `MIIF-${randomBytes(60).toString('base64url')}`;
      iamTokens.add(token);
      return jsonResponse(201, { token: { methods: ['mapped'] } }, { 'x-subject-token': token });
    },
    'POST /v3.0/OS-CREDENTIAL/securitytokens': ({ body }) => {
      const { auth } = JSON.parse(body.toString()) as {
        auth?: {
          identity?: { methods?: string[]; token?: { id?: string; duration_seconds?: number } };
        };
      };
      const { methods, token } = auth?.identity ?? {};
      if (methods?.[0] !== 'token' || !iamTokens.has(token?.id ?? ''))
        return errorResponse(401, 'token not found');
      const { access, secret, securitytoken, expiresAt } = account.issueKeys(keyLifetimeMs);
      return jsonResponse(201, {
        credential: { access, secret, securitytoken, expires_at: huaweiTime(expiresAt) },
      });
    },
  };

  const server = await startFakeServer({
    handler: (request) =>
      routes[`${request.method} ${request.path}`]?.(request) ?? errorResponse(404, 'no such API'),
    tls,
  });
  return Object.defineProperty(server as FakeIam, 'created', { get: () => created });
}
