import { SecretError, toSecretError } from '../../core/errors.ts';
import type { CheckStep, HostStore, StoreConfig } from '../../core/host-store.ts';
import type { Principal } from '../../core/provider.ts';
import { sanitizeExternalText, sanitizeUserText } from '../../core/safe-text.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { isTokenPath } from './authorize.ts';
import { combineErrors } from './call/cluster.ts';
import { parseSecretPath, withoutQuery } from './class/object-ref.ts';
import { readVaultRateLimits } from './config.ts';
import { readHostIdentity } from './credentials/host.ts';
import { lookUpToken } from './credentials/lookup.ts';
import { describeIdentity, isoTime, productName } from './describe.ts';
import { listKvSecrets } from './list.ts';
import { type VaultOperations, createVaultOperations } from './operations.ts';
import type { VaultLogin, VaultSession } from './types.ts';

/** What a host store of Vault needs. */
export type VaultHostDeps = ProviderDeps & {
  /** The store's name in dso.yaml. */
  readonly name: string;
};

/**
 * Opens a Vault or an OpenBao for a host without Kubernetes. It reads no file and makes no call
 * before the first use.
 * @throws SecretError NOT_CONFIGURED
 */
export function createVaultHostStore(
  dialect: VaultLogin['dialect'],
  config: StoreConfig,
  deps: VaultHostDeps,
): HostStore<VaultSession> {
  const { name, env, fingerprint, log } = deps;
  const identity = readHostIdentity(dialect, config, name);
  const { login, description, fingerprintFields } = identity;
  const rateLimits = readVaultRateLimits(dialect, env);
  const vault = createVaultOperations(dialect, { ...deps, rateLimits });
  const cacheKey = fingerprint({
    ...{ provider: dialect, store: name, login: JSON.stringify(login) },
    ...fingerprintFields,
  });
  const principal: Principal<VaultSession> = {
    fingerprint: cacheKey,
    description,
    kind: 'shared',
    credentials: (signal) => vault.tokens.getSession(cacheKey, identity, signal),
  };
  /** Runs a call of the host itself. Logs in once more if the token has ended before its time. */
  const withSession = async <T>(
    signal: AbortSignal,
    call: (session: VaultSession) => Promise<T>,
  ): Promise<T> => {
    const session = await principal.credentials(signal);
    try {
      return await call(session);
    } catch (thrown) {
      const isRefused = toSecretError(thrown).code === 'CREDENTIALS_REFUSED';
      if (!isRefused || !vault.tokens.invalidate(cacheKey, session)) throw thrown;
      return call(await principal.credentials(signal));
    }
  };
  const checkSteps: readonly CheckStep[] = [
    reach(vault, login),
    logIn(login, principal),
    lookUp((signal) =>
      withSession(signal, ({ token }) => lookUpToken(vault, login, token, signal)),
    ),
  ];
  return {
    ...vault.operations,
    grantScope: 'pod',
    refFor: (path) => ({ service: 'vault', name: readPath(path, login) }),
    principal: () => Promise.resolve(principal),
    checkSteps,
    async check(signal) {
      for (const step of checkSteps) await step.run(signal);
    },
    list: (signal) =>
      withSession(signal, (session) => listKvSecrets({ api: vault.api, log }, session, signal)),
  };
}

/** @throws SecretError INVALID_CLASS, NOT_GRANTED */
function readPath(text: string, login: VaultLogin): string {
  const parsed = parseSecretPath(text);
  if ('problem' in parsed)
    throw new SecretError('INVALID_CLASS', `the path ${sanitizeUserText(text)} ${parsed.problem}`, {
      hint: 'write the path of the API, like secret/data/app',
    });
  // The response holds the token itself, which reads all that the host may read.
  if (isTokenPath(withoutQuery(parsed.path)))
    throw new SecretError(
      'NOT_GRANTED',
      `${sanitizeUserText(text)} is about the host's own token of ${productName(login)}, which no application may read`,
      { hint: 'name the path of a secret' },
    );
  return parsed.path;
}

/** At least one address must serve. */
function reach({ api }: Pick<VaultOperations, 'api'>, login: VaultLogin): CheckStep {
  return {
    name: `reach ${productName(login)}`,
    async run(signal) {
      const { addresses } = login;
      const results = await Promise.allSettled(
        addresses.map((address) => api.checkHealth({ login, address }, signal)),
      );
      signal.throwIfAborted();
      const errors = results.flatMap((result) =>
        result.status === 'rejected' ? [toSecretError(result.reason)] : [],
      );
      if (errors.length === addresses.length) throw combineErrors(errors);
      return addresses
        .map((address, index) => {
          const result = results[index];
          return result?.status === 'rejected'
            ? `${address} does not serve: ${toSecretError(result.reason).message}`
            : `${address} serves`;
        })
        .join('; ');
    },
  };
}

function logIn(login: VaultLogin, principal: Principal<VaultSession>): CheckStep {
  return {
    name: login.method === 'token' ? 'use the token' : `log in with ${login.method}`,
    async run(signal) {
      const { expiresAt } = await principal.credentials(signal);
      const end =
        expiresAt === undefined ? 'without a known end' : `that ends at ${isoTime(expiresAt)}`;
      return `${describeIdentity({ login })} has a token ${end}`;
    },
  };
}

function lookUp(lookUpOwn: (signal: AbortSignal) => ReturnType<typeof lookUpToken>): CheckStep {
  return {
    name: 'look up the token',
    async run(signal) {
      try {
        const { policies, renewable } = await lookUpOwn(signal);
        const names = sanitizeExternalText(policies.join(', '), []);
        return `it has the policies ${names}, and can ${renewable ? '' : 'not '}be renewed`;
      } catch (thrown) {
        // It can still be good for what it is meant to read.
        if (toSecretError(thrown).code !== 'ACCESS_DENIED') throw thrown;
        return 'no policy of it allows to look it up';
      }
    },
  };
}
