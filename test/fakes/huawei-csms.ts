import type { TlsOptions } from 'node:tls';
import {
  startFakeServer,
  type FakeResponse,
  type FakeRequest,
  type FakeServer,
} from './http-server.ts';
import type { HuaweiAccount } from './huawei-account.ts';

type Value = { readonly secret_string?: string; readonly secret_binary?: string };
type Secret = { state: string; readonly versions: Value[] };

/** A fake CSMS of one region, for one project. */
export type FakeCsms = FakeServer & {
  /** Adds a version, which becomes the latest. Returns its id. */
  put(name: string, value: string | Uint8Array): string;
  /** `ENABLED`, `DISABLED`, `PENDING_DELETE`, `FROZEN`. */
  setState(name: string, state: string): void;
  delete(name: string): void;
  /** The names of secrets that the policy of IAM denies; `list` denies the list. */
  readonly denied: Set<string>;
};

/** Starts a fake CSMS. It verifies signatures and the project. */
export async function startFakeCsms(options: {
  readonly account: HuaweiAccount;
  readonly project: string;
  readonly tls: TlsOptions;
}): Promise<FakeCsms> {
  const { account, project, tls } = options;
  const secrets = new Map<string, Secret>();
  const denied = new Set<string>();
  let requests = 0;

  const jsonResponse = (status: number, body: object): FakeResponse => ({
    status,
    headers: { 'x-request-id': `csms-${(requests += 1)}` },
    body,
  });
  const errorResponse = (status: number, error_code: string, error_msg: string): FakeResponse =>
    jsonResponse(status, { error_code, error_msg });

  function list({ query }: FakeRequest): FakeResponse {
    if (denied.has('list'))
      return errorResponse(403, 'PAP.0001', "Policy doesn't allow csms:secret:list");
    const parameters = new URLSearchParams(query);
    const limit = Number(parameters.get('limit') ?? 50);
    if (!(limit >= 1 && limit <= 1_000)) return errorResponse(400, 'CSMS.0002', 'Bad parameter');
    const marker = parameters.get('marker') ?? '';
    const names = [...secrets.keys()].sort().filter((name) => name > marker);
    const page = names.slice(0, limit);
    return jsonResponse(200, {
      secrets: page.map((name) => ({
        ...{ id: `id-${name}`, name, state: secrets.get(name)?.state },
        ...{ create_time: 1_581_507_580_000, update_time: 1_581_507_580_000 },
      })),
      page_info: {
        current_count: page.length,
        ...(names.length > limit && { next_marker: page.at(-1) }),
      },
    });
  }

  function handle(request: FakeRequest): FakeResponse {
    const authError = account.authErrorResponse(request);
    if (authError !== undefined) return authError;
    const [, projectInPath = '', name = '', version] =
      /^\/v1\/([^/]+)\/secrets\/([^/]+)(?:\/versions\/([^/]+))?$/.exec(request.path) ?? [];
    const isList = request.path === `/v1/${project}/secrets`;
    if (request.method === 'GET' && isList) return list(request);
    if (request.method !== 'GET' || name === '')
      return errorResponse(404, 'APIGW.0101', 'The API does not exist');
    if (projectInPath !== project || request.headers['x-project-id'] !== project)
      return errorResponse(403, 'CSMS.0403', 'Project does not match');
    if (denied.has(name))
      return errorResponse(403, 'PAP.0001', `Policy doesn't allow ${name} to be performed`);
    const secret = secrets.get(name);
    if (secret === undefined)
      return errorResponse(400, 'CSMS.0106', 'The secret name does not exist');
    if (version === undefined) return jsonResponse(200, { secret: { name, state: secret.state } });
    if (secret.state === 'PENDING_DELETE')
      return errorResponse(400, 'CSMS.0103', 'The secret is pending deletion');
    // Huawei Cloud does not document the code for these states.
    if (secret.state !== 'ENABLED')
      return errorResponse(400, 'CSMS.0999', 'Operation not allowed in this state');
    const number = version === 'latest' ? secret.versions.length : Number(version.slice(1));
    const value = secret.versions[number - 1];
    if (value === undefined) return errorResponse(400, 'CSMS.0005', 'The resource does not exist');
    return jsonResponse(200, {
      version: { version_metadata: metadata(name, `v${number}`), ...value },
    });
  }

  const server = await startFakeServer({ handler: handle, tls });
  return Object.assign(server, {
    denied,
    put(name: string, value: string | Uint8Array) {
      const secret = secrets.get(name) ?? { state: 'ENABLED', versions: [] };
      secrets.set(name, secret);
      secret.versions.push(
        typeof value === 'string'
          ? { secret_string: value }
          : { secret_binary: Buffer.from(value).toString('base64') },
      );
      return `v${secret.versions.length}`;
    },
    setState(name: string, state: string) {
      const secret = secrets.get(name);
      if (secret !== undefined) secret.state = state;
    },
    delete: (name: string) => void secrets.delete(name),
  });
}

function metadata(secret_name: string, id: string): object {
  return {
    id,
    secret_name,
    kms_key_id: 'b168fe00ff56492495a7d22974df2d0b',
    create_time: 1_581_507_580_000,
    expire_time: null,
    version_stages: ['SYSCURRENT'],
  };
}
