import type { SecureContextOptions } from 'node:tls';
import {
  alibabaErrorResponse,
  alibabaTime,
  type AlibabaAccount,
  type AlibabaCall,
} from './alibaba-account.ts';
import { startFakeServer, type FakeResponse, type FakeServer } from './http-server.ts';

type Version = { readonly value: string; readonly updatedAt: number };

/** The fake parameter store of OOS in one region. */
export type FakeOos = FakeServer & {
  /** Adds a version and returns its number. A parameter that was deleted starts again at 1. */
  put(name: string, value: string): number;
  delete(name: string): void;
  /** The parameters that the policies deny. */
  readonly denied: Set<string>;
};

/** Starts a fake OOS. It verifies signatures. It decrypts only with `WithDecryption`. */
export async function startFakeOos(options: {
  readonly account: AlibabaAccount;
  readonly region: string;
  readonly now?: () => number;
  readonly tls: SecureContextOptions;
}): Promise<FakeOos> {
  const { account, region, now = Date.now, tls } = options;
  const parameterVersions = new Map<string, Version[]>();
  const denied = new Set<string>();

  function handleCall({ action, version, parameters }: AlibabaCall): FakeResponse {
    if (action !== 'GetSecretParameter' || version !== '2019-06-01')
      return alibabaErrorResponse(404, 'InvalidAction.NotFound', 'Specified api is not found.');
    if (parameters.get('RegionId') !== region)
      return alibabaErrorResponse(400, 'InvalidParameter', 'The specified RegionId is not valid.');
    const name = parameters.get('Name') ?? '';
    if (denied.has(name))
      return alibabaErrorResponse(403, 'NoPermission', 'You are not authorized to do this action.');
    const versions = parameterVersions.get(name);
    if (versions === undefined)
      return alibabaErrorResponse(
        404,
        'EntityNotExists.Parameter',
        `The specified parameter ${name} does not exist.`,
      );
    const number = Number(parameters.get('ParameterVersion') ?? versions.length);
    const found = versions[number - 1];
    if (found === undefined)
      return alibabaErrorResponse(
        404,
        'EntityNotExists.ParameterVersion',
        'The specified version does not exist.',
      );
    return {
      body: {
        RequestId: 'req-ok',
        Parameter: {
          Name: name,
          Value: parameters.get('WithDecryption') === 'true' ? found.value : 'ENCRYPTED',
          ParameterVersion: number,
          Type: 'Secret',
          UpdatedDate: alibabaTime(found.updatedAt),
        },
      },
    };
  }

  const server = await startFakeServer({
    tls,
    handler: (request) => account.serve(request, handleCall),
  });
  return Object.assign(server, {
    denied,
    put(name: string, value: string) {
      const versions = parameterVersions.get(name) ?? [];
      parameterVersions.set(name, versions);
      return versions.push({ value, updatedAt: now() });
    },
    delete: (name: string) => void parameterVersions.delete(name),
  });
}
