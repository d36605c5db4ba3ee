import type { SecureContextOptions } from 'node:tls';
import { alibabaFault, type AlibabaAccount, type AlibabaCall } from './alibaba-account.ts';
import { startFakeServer, type FakeAnswer, type FakeServer } from './http-server.ts';

type Version = { readonly id: string; readonly data: string; readonly type: 'text' | 'binary' };
type Secret = { readonly type: string; readonly versions: Version[]; fault?: FakeAnswer };

/** A KMS of one region. */
export type FakeKms = FakeServer & {
  /** Adds a version, ACSCurrent from now on; its id is `v1`, `v2`, ... */
  put(name: string, value: string | Uint8Array, secretType?: string): string;
  delete(name: string): void;
  /** From now on answers this for the secret: disabled, to be deleted. */
  setFault(name: string, status: number, code: string): void;
  /** Names and holders, `NAME by HOLDER`, that policies do not allow. Names alone: nobody. */
  readonly denied: Set<string>;
  /** What was asked and let through, oldest first. */
  readonly calls: readonly AlibabaCall[];
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

  function answer(call: AlibabaCall): FakeAnswer {
    const { action, version, parameters, holder } = call;
    if (action !== 'GetSecretValue' || version !== '2016-01-20')
      return alibabaFault(404, 'InvalidAction.NotFound', 'Specified api is not found.');
    calls.push(call);
    const name = parameters.get('SecretName') ?? '';
    if (denied.has(name) || denied.has(`${name} by ${holder ?? ''}`))
      return alibabaFault(403, 'Forbidden.NoPermission', 'This operation is forbidden by permission system.');
    const secret = secrets.get(name);
    if (secret === undefined) return alibabaFault(404, 'Forbidden.ResourceNotFound', 'Resource not found.');
    if (secret.fault !== undefined) return secret.fault;
    const found = find(secret, parameters.get('VersionId'), parameters.get('VersionStage'));
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

  const server = await startFakeServer({ tls, handler: (request) => account.serve(request, answer) });
  return Object.assign(server, {
    calls,
    denied,
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
  });
}

function find(
  secret: Secret,
  id: string | null,
  stage: string | null,
): Version | undefined | 'contradiction' {
  const { versions, type } = secret;
  const byStage = { ACSCurrent: versions.at(-1), ACSPrevious: versions.at(-2) }[stage ?? 'ACSCurrent'];
  // Managed secrets ignore it.
  if (id === null || type !== 'Generic') return byStage;
  const byId = versions.find((version) => version.id === id);
  return stage !== null && byStage !== byId ? 'contradiction' : byId;
}
