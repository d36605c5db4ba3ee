import { SecretError } from '../../core/errors.ts';
import type { HostStore, StoreConfig } from '../../core/host-store.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { createEnvReader } from '../shared/env.ts';
import { HomeRegion } from '../shared/identity/home-region.ts';
import { callAsHost, ignoreRefusal, inRegion, readPages } from '../shared/reads/host-call.ts';
import type { ReadContext } from './call.ts';
import { readCloudConfig } from './config.ts';
import type { Endpoint } from './endpoints.ts';
import { refOfPath } from './host-ref.ts';
import { readEndpoint, readIdentity, readRegion, readRole } from './host-settings.ts';
import { kmsEndpointOf, listSecrets } from './kms.ts';
import { createAlibabaStore } from './store.ts';
import { hostTexts } from './texts.ts';
import type { AlibabaCredential } from './types.ts';

/** The limit of ListSecrets. */
const pageSize = 100;

/**
 * Opens KMS and OOS of Alibaba Cloud for a host without Kubernetes.
 *
 * | path | secret |
 * |---|---|
 * | `my-app/db` | the current version of a secret of KMS |
 * | `acs:kms:REGION:ACCOUNT:secret/NAME` | the same, in the region of the ARN |
 * | `oos:my-app/db`, `oos:my-app/db:3` | a parameter of OOS, or its version 3 |
 *
 * No name of KMS contains a colon, so `oos:` hides none.
 *
 * Identity: the keys of dso.yaml, else those in `ALIBABA_CLOUD_ACCESS_KEY_ID`,
 * `ALIBABA_CLOUD_ACCESS_KEY_SECRET` and `ALIBABA_CLOUD_SECURITY_TOKEN`, else the RAM role of the
 * ECS instance. `auth.method` restricts it. With `role_arn`, the role that this identity assumes.
 * Region: dso.yaml, else `ALIBABA_CLOUD_REGION_ID` or `ALIBABA_CLOUD_REGION`, else that of the ECS
 * instance. `endpoint` is that of KMS. Default: with a RAM role that of the VPC, with keys the
 * public one.
 *
 * The list has the secrets of KMS, and no parameters.
 * @throws SecretError NOT_CONFIGURED for a setting that cannot be used
 */
export function createAlibabaHostStore(
  config: StoreConfig,
  deps: ProviderDeps,
): HostStore<AlibabaCredential> {
  const get = createEnvReader(deps.env);
  const role = readRole(config);
  const identity = readIdentity(config, get);
  const configuredRegion = readRegion(config, get);
  const endpoint = readEndpoint(config);
  const network = identity.credential.kind === 'worker-role' ? 'vpc' : 'public';
  const envCloud = readCloudConfig(get, configuredRegion, network);
  const cloud = {
    ...envCloud,
    ...(endpoint !== undefined && { allowedEndpoints: [endpoint] }),
  };
  const { api, metadata, authenticatedCall, principalOf, fetch } = createAlibabaStore(deps, {
    ...{ cloud, texts: hostTexts({ hasTriedKeys: config.auth === undefined }) },
  });
  const homeRegion = new HomeRegion(configuredRegion, async (signal) => {
    try {
      return await metadata.region(signal);
    } catch (thrown) {
      throw thrown instanceof SecretError ? noRegionError(thrown) : thrown;
    }
  });
  const principalIn = (region: string) => {
    const { fingerprintFields } = identity;
    return principalOf({ ...identity, fingerprintFields: { ...fingerprintFields, region } }, role);
  };

  const callKms = async <T>(
    signal: AbortSignal,
    call: (context: ReadContext, endpoint: Endpoint) => Promise<T>,
  ): Promise<T> => {
    const region = await homeRegion.get(signal);
    const ref = { service: 'kms', name: '', region, ...(endpoint !== undefined && { endpoint }) };
    const hostCall = { store: 'alibabacloud', ref, principal: principalIn(region), signal };
    return callAsHost(authenticatedCall, hostCall, async (context) =>
      call(context, kmsEndpointOf(ref, cloud)),
    );
  };

  return {
    refFor: (path) => refOfPath(path, { region: homeRegion.known, endpoint }),
    principal: async (signal) => principalIn(await homeRegion.get(signal)),
    fetch: (requests) => fetch(inRegion(requests, homeRegion.known)),
    check: (signal) =>
      callKms(signal, (context, kms) =>
        ignoreRefusal(listSecrets(api, context, kms, { limit: 1, number: 1 })),
      ),
    list: (signal) =>
      readPages(async (marker = '1') => {
        const number = Number(marker);
        const { items, isLast } = await callKms(signal, (context, kms) =>
          listSecrets(api, context, kms, { limit: pageSize, number }),
        );
        return { items, next: isLast ? undefined : String(number + 1) };
      }),
  };
}

function noRegionError({ message, hint }: SecretError): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `alibabacloud: there is no region in dso.yaml or in ALIBABA_CLOUD_REGION_ID, and ${message}`,
    hint === undefined ? {} : { hint },
  );
}
