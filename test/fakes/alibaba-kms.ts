import type { SecureContextOptions } from 'node:tls';
import { alibabaFault, type AlibabaAccount, type AlibabaCall } from './alibaba-account.ts';
import { startFakeServer, type FakeAnswer, type FakeRequest, type FakeServer } from './http-server.ts';

type Version = { readonly id: string; readonly data: string; readonly type: 'text' | 'binary' };
type Secret = { readonly type: string; readonly versions: Version[]; fault?: FakeAnswer };

/** Which version; the current one where neither is given. */
type Asked = { readonly VersionId?: string | undefined; readonly VersionStage?: string | undefined };

/** A KMS of one region. */
export type FakeKms = FakeServer & {
  /** Adds a version, ACSCurrent from now on; its id is `v1`, `v2`, ... */
  put(name: string, value: string | Uint8Array, secretType?: string): string;
  delete(name: string): void;
  /** From now on answers this for the secret: disabled, to be deleted. */
  setFault(name: string, status: number, code: string): void;
  /** Names and holders, `NAME by HOLDER`, that policies do not allow. Names alone: nobody. */
  readonly denied: Set<string>;
  /** Milliseconds that calls about a secret take. */
  readonly delays: Map<string, number>;
  /** Whether BatchGetSecretValue is served, denied by policy, or not known here. */
  batches: 'served' | 'denied' | 'unknown';
  /** What was asked and signed well, oldest first. */
  readonly calls: readonly AlibabaCall[];
  /** How many secrets each BatchGetSecretValue was about. */
  batchSizes(): readonly number[];
  /** How many calls of GetSecretValue. */
  reads(): number;
};

/** Starts one. It verifies signatures, and counts by `FakeServer.count()`. */
export async function startFakeKms(options: {
  readonly account: AlibabaAccount;
  readonly tls: SecureContextOptions;
}): Promise<FakeKms> {
  const { account, tls } = options;
  const secrets = new Map<string, Secret>();
  const denied = new Set<string>();
  const calls: AlibabaCall[] = [];
  const delays = new Map<string, number>();

  /** What is said of one secret. */
  function read(name: string, asked: Asked, holder: string | undefined): FakeAnswer {
    if (denied.has(name) || denied.has(`${name} by ${holder ?? ''}`))
      return alibabaFault(403, 'Forbidden.NoPermission', 'This operation is forbidden by permission system.');
    const secret = secrets.get(name);
    if (secret === undefined) return alibabaFault(404, 'Forbidden.ResourceNotFound', 'Resource not found.');
    if (secret.fault !== undefined) return secret.fault;
    const found = find(secret, asked);
    if (found === 'contradiction')
      return alibabaFault(400, 'InvalidParameter', 'The specified parameter is not valid.');
    if (found === undefined) return alibabaFault(404, 'Forbidden.ResourceNotFound', 'Resource not found.');
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

  /** What went well and what did not, each in a list of its own, in an order of its own. */
  function readBatch(call: AlibabaCall): FakeAnswer {
    const asked = askedFor(call);
    const names = new Set(asked.map(({ SecretName }) => SecretName));
    if (names.size === 0 || names.size !== asked.length || asked.length > 20)
      return alibabaFault(400, 'InvalidParameter', 'The specified parameter is not valid.');
    const answers = asked.map((each) => ({ each, said: read(each.SecretName, each, call.holder) })).reverse();
    return {
      body: {
        RequestId: 'req-ok',
        SecretValues: answers.flatMap(({ said }) => (said.status === undefined ? [said.body] : [])),
        Errors: answers.flatMap(({ each, said }) =>
          said.status === undefined ? [] : [{ ...(said.body as object), SecretName: each.SecretName }],
        ),
      },
    };
  }

  function answer(call: AlibabaCall): FakeAnswer {
    const { action, version, parameters, holder } = call;
    if (version !== '2016-01-20' || (action !== 'GetSecretValue' && action !== 'BatchGetSecretValue'))
      return alibabaFault(404, 'InvalidAction.NotFound', 'Specified api is not found.');
    calls.push(call);
    if (action === 'GetSecretValue') {
      const [SecretName = '', VersionId, VersionStage] = ['SecretName', 'VersionId', 'VersionStage'].map(
        (key) => parameters.get(key) ?? undefined,
      );
      return read(SecretName, { VersionId, VersionStage }, holder);
    }
    if (server.batches === 'unknown')
      return alibabaFault(404, 'InvalidAction.NotFound', 'Specified api is not found.');
    if (server.batches === 'denied')
      return alibabaFault(403, 'Forbidden.NoPermission', 'This operation is forbidden by permission system.');
    return readBatch(call);
  }

  async function handler(request: FakeRequest): Promise<FakeAnswer> {
    const before = calls.length;
    const said = account.serve(request, answer);
    const names = calls.slice(before).flatMap(askedFor);
    const delayMs = Math.max(0, ...names.map(({ SecretName }) => delays.get(SecretName) ?? 0));
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    return said;
  }

  const more: Omit<FakeKms, keyof FakeServer> = {
    ...{ calls, denied, delays },
    batches: 'served',
    batchSizes: () =>
      calls.filter(({ action }) => action === 'BatchGetSecretValue').map((call) => askedFor(call).length),
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
    setFault(name: string, status: number, code: string) {
      const secret = secrets.get(name);
      if (secret !== undefined) secret.fault = alibabaFault(status, code, 'The request was rejected.');
    },
  };
  const server: FakeKms = Object.assign(await startFakeServer({ tls, handler }), more);
  return server;
}

/** The secrets a call is about. */
function askedFor({ parameters }: AlibabaCall): readonly (Asked & { readonly SecretName: string })[] {
  const list = parameters.get('SecretsList');
  return list === null
    ? [{ SecretName: parameters.get('SecretName') ?? '' }]
    : (JSON.parse(list) as (Asked & { SecretName: string })[]);
}

function find(
  secret: Secret,
  { VersionId: id, VersionStage: stage }: Asked,
): Version | undefined | 'contradiction' {
  const { versions, type } = secret;
  const byStage = { ACSCurrent: versions.at(-1), ACSPrevious: versions.at(-2) }[stage ?? 'ACSCurrent'];
  // Managed secrets ignore it.
  if (id === undefined || type !== 'Generic') return byStage;
  const byId = versions.find((version) => version.id === id);
  return stage !== undefined && byStage !== byId ? 'contradiction' : byId;
}
