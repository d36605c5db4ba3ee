import type { SecureContextOptions } from 'node:tls';
import { alibabaErrorResponse, type AlibabaAccount, type AlibabaCall } from './alibaba-account.ts';
import {
  startFakeServer,
  type FakeResponse,
  type FakeRequest,
  type FakeServer,
} from './http-server.ts';

type Version = { readonly id: string; readonly data: string; readonly type: 'text' | 'binary' };
type Secret = { readonly type: string; readonly versions: Version[]; errorResponse?: FakeResponse };

/** Selects a version. Empty: the current one. */
type VersionSelector = {
  readonly VersionId?: string | undefined;
  readonly VersionStage?: string | undefined;
};

/** A fake KMS of one region. */
export type FakeKms = FakeServer & {
  /** Adds a version, which becomes ACSCurrent. Returns its id: `v1`, `v2`, ... */
  put(name: string, value: string | Uint8Array, secretType?: string): string;
  delete(name: string): void;
  /** Sets the error response to reads of the secret: disabled, to be deleted. */
  setErrorResponse(name: string, status: number, code: string): void;
  /** What the policies deny: `NAME by HOLDER`, `NAME` for all holders, `ListSecrets`. */
  readonly denied: Set<string>;
  /** How long calls for a secret take, in milliseconds. */
  readonly delays: Map<string, number>;
  /** Whether BatchGetSecretValue is served, denied by policy, or unknown. */
  batchSupport: 'served' | 'denied' | 'unknown';
  /** The calls with a valid signature, oldest first. */
  readonly calls: readonly AlibabaCall[];
  /** The number of secrets of each BatchGetSecretValue. */
  batchSizes(): readonly number[];
  /** The number of calls of GetSecretValue. */
  reads(): number;
};

/** Starts a fake KMS. It verifies signatures. */
export async function startFakeKms(options: {
  readonly account: AlibabaAccount;
  readonly tls: SecureContextOptions;
}): Promise<FakeKms> {
  const { account, tls } = options;
  const secrets = new Map<string, Secret>();
  const denied = new Set<string>();
  const calls: AlibabaCall[] = [];
  const delays = new Map<string, number>();

  /** The response to a read of one secret. */
  function read(name: string, selector: VersionSelector, holder: string | undefined): FakeResponse {
    if (denied.has(name) || denied.has(`${name} by ${holder ?? ''}`))
      return alibabaErrorResponse(
        403,
        'Forbidden.NoPermission',
        'This operation is forbidden by permission system.',
      );
    const secret = secrets.get(name);
    if (secret === undefined)
      return alibabaErrorResponse(404, 'Forbidden.ResourceNotFound', 'Resource not found.');
    if (secret.errorResponse !== undefined) return secret.errorResponse;
    const found = find(secret, selector);
    if (found === 'contradiction')
      return alibabaErrorResponse(400, 'InvalidParameter', 'The specified parameter is not valid.');
    if (found === undefined)
      return alibabaErrorResponse(404, 'Forbidden.ResourceNotFound', 'Resource not found.');
    return {
      body: {
        RequestId: 'req-ok',
        SecretName: name.replace(/^acs:.*:secret\//, ''),
        SecretData: found.data,
        SecretDataType: found.type,
        VersionId: found.id,
        VersionStages: { VersionStage: ['ACSCurrent'] },
        SecretType: secret.type,
        CreateTime: '2026-11-22T03:00:00Z',
      },
    };
  }

  /** The real service has one list of values and one of errors. Their order is not documented. */
  function readBatch(call: AlibabaCall): FakeResponse {
    const requested = requestedSecrets(call);
    const names = new Set(requested.map(({ SecretName }) => SecretName));
    if (names.size === 0 || names.size !== requested.length || requested.length > 20)
      return alibabaErrorResponse(400, 'InvalidParameter', 'The specified parameter is not valid.');
    const responses = requested
      .map((each) => ({ each, response: read(each.SecretName, each, call.holder) }))
      .reverse();
    return {
      body: {
        RequestId: 'req-ok',
        SecretValues: responses.flatMap(({ response }) =>
          response.status === undefined ? [response.body] : [],
        ),
        Errors: responses.flatMap(({ each, response }) =>
          response.status === undefined
            ? []
            : [{ ...(response.body as object), SecretName: each.SecretName }],
        ),
      },
    };
  }

  function list(parameters: URLSearchParams): FakeResponse {
    if (denied.has('ListSecrets'))
      return alibabaErrorResponse(
        403,
        'Forbidden.NoPermission',
        'This operation is forbidden by permission system.',
      );
    const [page = 0, size = 0] = ['PageNumber', 'PageSize'].map((key) =>
      Number(parameters.get(key)),
    );
    if (!(page >= 1 && size >= 1 && size <= 100))
      return alibabaErrorResponse(400, 'InvalidParameter', 'The specified parameter is not valid.');
    const names = [...secrets.keys()].sort();
    const isDeleted = (name: string): boolean =>
      JSON.stringify(secrets.get(name)?.errorResponse ?? '').includes('PendingDeletion');
    return {
      body: {
        ...{ RequestId: 'req-ok', PageNumber: page, PageSize: size, TotalCount: names.length },
        SecretList: {
          Secret: names.slice((page - 1) * size, page * size).map((name) => ({
            ...{ SecretName: name, SecretType: 'Generic', UpdateTime: '2026-11-22T03:00:00Z' },
            PlannedDeleteTime: isDeleted(name) ? '2026-12-22T03:00:00Z' : '',
          })),
        },
      },
    };
  }

  function handleCall(call: AlibabaCall): FakeResponse {
    const { action, version, parameters, holder } = call;
    if (
      version !== '2016-01-20' ||
      !['GetSecretValue', 'BatchGetSecretValue', 'ListSecrets'].includes(action)
    )
      return alibabaErrorResponse(404, 'InvalidAction.NotFound', 'Specified api is not found.');
    calls.push(call);
    if (action === 'ListSecrets') return list(parameters);
    if (action === 'GetSecretValue') {
      const [SecretName = '', VersionId, VersionStage] = [
        'SecretName',
        'VersionId',
        'VersionStage',
      ].map((key) => parameters.get(key) ?? undefined);
      return read(SecretName, { VersionId, VersionStage }, holder);
    }
    if (server.batchSupport === 'unknown')
      return alibabaErrorResponse(404, 'InvalidAction.NotFound', 'Specified api is not found.');
    if (server.batchSupport === 'denied')
      return alibabaErrorResponse(
        403,
        'Forbidden.NoPermission',
        'This operation is forbidden by permission system.',
      );
    return readBatch(call);
  }

  async function handler(request: FakeRequest): Promise<FakeResponse> {
    const before = calls.length;
    const response = account.serve(request, handleCall);
    const names = calls.slice(before).flatMap(requestedSecrets);
    const delayMs = Math.max(0, ...names.map(({ SecretName }) => delays.get(SecretName) ?? 0));
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    return response;
  }

  const fakeState: Omit<FakeKms, keyof FakeServer> = {
    ...{ calls, denied, delays },
    batchSupport: 'served',
    batchSizes: () =>
      calls
        .filter(({ action }) => action === 'BatchGetSecretValue')
        .map((call) => requestedSecrets(call).length),
    reads: () => calls.filter(({ action }) => action === 'GetSecretValue').length,
    put(name: string, value: string | Uint8Array, secretType = 'Generic') {
      const secret = secrets.get(name) ?? { type: secretType, versions: [] };
      secrets.set(name, secret);
      const id = `v${secret.versions.length + 1}`;
      secret.versions.push(
        typeof value === 'string'
          ? { id, type: 'text', data: value }
          : { id, type: 'binary', data: Buffer.from(value).toString('base64') },
      );
      return id;
    },
    delete: (name: string) => void secrets.delete(name),
    setErrorResponse(name: string, status: number, code: string) {
      const secret = secrets.get(name);
      if (secret !== undefined)
        secret.errorResponse = alibabaErrorResponse(status, code, 'The request was rejected.');
    },
  };
  const server: FakeKms = Object.assign(await startFakeServer({ tls, handler }), fakeState);
  return server;
}

/** The secrets that a call names. */
function requestedSecrets({
  parameters,
}: AlibabaCall): readonly (VersionSelector & { readonly SecretName: string })[] {
  const list = parameters.get('SecretsList');
  return list === null
    ? [{ SecretName: parameters.get('SecretName') ?? '' }]
    : (JSON.parse(list) as (VersionSelector & { SecretName: string })[]);
}

function find(
  secret: Secret,
  { VersionId: id, VersionStage: stage }: VersionSelector,
): Version | undefined | 'contradiction' {
  const { versions, type } = secret;
  const byStage = { ACSCurrent: versions.at(-1), ACSPrevious: versions.at(-2) }[
    stage ?? 'ACSCurrent'
  ];
  // A managed secret ignores the version id.
  if (id === undefined || type !== 'Generic') return byStage;
  const byId = versions.find((version) => version.id === id);
  return stage !== undefined && byStage !== byId ? 'contradiction' : byId;
}
