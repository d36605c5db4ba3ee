import type { HostStore, StoreConfig } from '../../core/host-store.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { HomeRegion } from '../shared/identity/home-region.ts';
import { callAsHost, ignoreRefusal, inRegion, readPages } from '../shared/reads/host-call.ts';
import type { AwsCallContext } from './call.ts';
import { readAwsConfig } from './config.ts';
import { readInstanceRegion } from './credentials/instance-region.ts';
import { refOfPath } from './host-ref.ts';
import { readIdentity, readRegion, withEndpoint } from './host-settings.ts';
import { listSecrets } from './secrets-manager.ts';
import { createAwsStore } from './store.ts';
import { hostTexts } from './texts.ts';
import type { AwsCredential } from './types.ts';

/** The limit of ListSecrets. */
const pageSize = 100;

/**
 * Opens Secrets Manager and the Parameter Store for a host without Kubernetes.
 *
 * | path | secret |
 * |---|---|
 * | `my-app/db` | the current version of a secret of Secrets Manager |
 * | `ssm:/my-app/db`, `ssm:db` | a parameter. Its name is what follows `ssm:`, with its slash |
 * | `ssm:/my-app/db:3`, `ssm:/my-app/db:prod` | its version 3, or that with the label prod |
 * | `arn:aws:secretsmanager:...`, `arn:aws:ssm:...` | the same, in the region of the ARN |
 *
 * No name of Secrets Manager contains a colon, so `ssm:` hides none.
 *
 * Identity: AWS's default credential chain (environment, `~/.aws`, ECS task role, instance
 * profile), or the link of it that `auth.method` names; with `role_arn`, the role that this
 * identity assumes. Region: dso.yaml, else `AWS_REGION` or `AWS_DEFAULT_REGION`, else that of the
 * EC2 instance. `endpoint` is the address of all services, as `AWS_ENDPOINT_URL`; STS keeps an
 * address in `AWS_ENDPOINT_URL_STS`.
 *
 * The list has the secrets of Secrets Manager, and no parameters.
 * @throws SecretError NOT_CONFIGURED for a setting that cannot be used
 */
export function createAwsHostStore(
  config: StoreConfig,
  deps: ProviderDeps,
): HostStore<AwsCredential> {
  const { env } = deps;
  const { cloud, region: regionOfEnv } = readAwsConfig(env);
  const identity = readIdentity(config);
  const { api, authenticatedCall, principalOf, fetch } = createAwsStore(deps, {
    ...{ cloud: withEndpoint(cloud, config, env), texts: hostTexts },
  });
  const homeRegion = new HomeRegion(readRegion(config) ?? regionOfEnv, (signal) =>
    readInstanceRegion(deps, signal),
  );

  const callStore = async <T>(
    signal: AbortSignal,
    call: (context: AwsCallContext) => Promise<T>,
  ): Promise<T> => {
    const region = await homeRegion.get(signal);
    const ref = { service: 'secretsmanager', name: '', region };
    const principal = principalOf(identity, region);
    return callAsHost(authenticatedCall, { store: 'aws', ref, principal, signal }, call);
  };

  return {
    refFor: (path) => refOfPath(path, homeRegion.known),
    principal: async (signal) => principalOf(identity, await homeRegion.get(signal)),
    fetch: (requests) => fetch(inRegion(requests, homeRegion.known)),
    check: (signal) =>
      callStore(signal, (context) => ignoreRefusal(listSecrets(api, context, { limit: 1 }))),
    list: (signal) =>
      readPages((marker) =>
        callStore(signal, (context) => listSecrets(api, context, { limit: pageSize, marker })),
      ),
  };
}
