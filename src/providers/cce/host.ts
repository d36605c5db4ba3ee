import { SingleFlight } from '../../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../../core/errors.ts';
import type { HostStore, StoreConfig } from '../../core/host-store.ts';
import type { FetchResult, Principal } from '../../core/provider.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { type ProviderDeps, createProviderRetry } from '../shared/deps.ts';
import { callAsHost, ignoreRefusal, readPages } from '../shared/reads/host-call.ts';
import { type RegionConfig, createConfigReader } from './config.ts';
import type { CsmsClient, CsmsRequest } from './csms.ts';
import { MetadataService } from './credentials/metadata.ts';
import { readGivenPlace, readIdentity } from './host-settings.ts';
import { clusterIdentityOf } from './principals.ts';
import { type CsmsStore, createCsmsStore } from './store.ts';
import { hostTexts } from './texts.ts';
import { type CceCredential, secretNamePattern } from './types.ts';

/** Enough for few calls, and few enough for one response. CSMS allows 1,000. */
const pageSize = 200;

/**
 * Opens CSMS of Huawei Cloud for a host without Kubernetes. A path is the name of a secret, whose
 * latest version is read.
 *
 * Identity: the keys of dso.yaml, else the variables of Huawei Cloud's SDKs (an ID token or keys;
 * keys also as `HUAWEI_ACCESS_KEY_ID` and `HUAWEI_ACCESS_KEY`), else the agency of the ECS.
 * `auth.method` restricts it. Region and project: dso.yaml, else `HUAWEICLOUD_SDK_REGION` and
 * `_PROJECT_ID`, else those of the ECS.
 * @throws SecretError NOT_CONFIGURED for a setting that cannot be used
 */
export function createHuaweiHostStore(
  store: StoreConfig,
  deps: ProviderDeps,
): HostStore<CceCredential> {
  const reader = createConfigReader('huawei', deps.env);
  const config = reader.cloud(readIdentity(store, reader));
  const given = readGivenPlace(store);
  const texts = hostTexts({ hasTriedKeys: store.auth === undefined });
  const create = (region: RegionConfig): CsmsStore =>
    createCsmsStore(deps, { config, region, texts });

  const configuredRegion = store.region ?? reader.region();
  let opened =
    configuredRegion === undefined
      ? undefined
      : create(reader.regionConfig(configuredRegion, given));
  const singleFlight = new SingleFlight<CsmsStore>();
  /** Opens the CSMS of the region in which the host is. */
  const openHere = async (signal: AbortSignal): Promise<CsmsStore> => {
    const { http, now } = deps;
    const retry = createProviderRetry('huawei', deps);
    const metadata = new MetadataService({
      ...{ http, retry, now, endpoint: config.metadata },
      texts: { ...texts, triedBefore: '' },
    });
    const { region, projectId } = await metadata.describe(signal).catch((thrown: unknown) => {
      signal.throwIfAborted();
      throw noRegionError(toSecretError(thrown));
    });
    return create(reader.regionConfig(region, { projectId, ...given }));
  };
  const open = async (signal: AbortSignal): Promise<CsmsStore> =>
    (opened ??= await singleFlight.run('store', signal, openHere));

  const principalOf = ({ principalOf: principal, owner }: CsmsStore): Principal<CceCredential> =>
    principal(clusterIdentityOf(config.identity, owner));

  const callCsms = async <T>(
    signal: AbortSignal,
    call: (csms: CsmsClient, request: CsmsRequest) => Promise<T>,
  ): Promise<T> => {
    const here = await open(signal);
    const { csms, projects, authenticatedCall } = here;
    const hostCall = { store: 'huawei', ref: listRef, principal: principalOf(here), signal };
    return callAsHost(authenticatedCall, hostCall, async (context) => {
      const { fingerprint, credential } = context;
      const project = await projects.find(fingerprint, credential, context.signal);
      return call(csms, { ...context, project });
    });
  };

  return {
    refFor(path) {
      if (secretNamePattern.test(path) && !/^\.\.?$/.test(path))
        return { service: 'csms', name: path, version: 'latest' };
      throw new SecretError(
        'INVALID_CLASS',
        `huawei: CSMS has no secret with the name ${sanitizeUserText(path)}`,
        { hint: 'names have 1 to 64 letters, digits, "_", "." and "-", and no "/"' },
      );
    },
    principal: async (signal) => principalOf(await open(signal)),
    fetch: (requests) =>
      opened?.fetch(requests) ??
      requests.map(async (): Promise<FetchResult> => ({ kind: 'failed', error: notOpenError() })),
    check: (signal) =>
      callCsms(signal, (csms, request) =>
        ignoreRefusal(csms.listSecrets({ ...request, limit: 1 })),
      ),
    list: (signal) =>
      readPages((marker) =>
        callCsms(signal, (csms, request) =>
          csms.listSecrets({ ...request, limit: pageSize, marker }),
        ),
      ),
  };
}

const listRef = { service: 'csms', name: '' };

/** No grant can exist before `principal` has opened the store. */
function notOpenError(): SecretError {
  return new SecretError('INTERNAL', 'huawei: the store is read before it is open');
}

function noRegionError({ message }: SecretError): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `huawei: there is no region in dso.yaml or in HUAWEICLOUD_SDK_REGION, and ${message}`,
    { hint: 'set region in dso.yaml' },
  );
}
