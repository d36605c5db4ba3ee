import { createHttpClient } from '../../src/http/client.ts';
import type { AlibabaCloudConfig } from '../../src/providers/alibabacloud/types.ts';
import { createAlibabaAccount } from './alibaba-account.ts';
import { startFakeKms } from './alibaba-kms.ts';
import { startFakeAlibabaMetadata } from './alibaba-metadata.ts';
import { startFakeOos } from './alibaba-oos.ts';
import { startFakeSts, type RamRole } from './alibaba-sts.ts';
import { createTestCa } from './tls.ts';

export const alibabaRegion = 'cn-hangzhou';

/** See {@link startAlibabaCloud}. */
export type AlibabaCloudOptions = {
  readonly roles?: readonly RamRole[];
  readonly metadataTokens?: 'required' | 403 | 404;
  /** Which ServiceAccount tokens STS accepts; see {@link startFakeSts}. */
  readonly isIssued?: (token: string) => boolean;
};

/**
 * Starts a fake cloud of one region with HTTPS. The result has clocks that a test can set, and the
 * configuration of the provider.
 */
export async function startAlibabaCloud({
  roles = [],
  metadataTokens = 'required',
  isIssued,
}: AlibabaCloudOptions = {}) {
  /** How far the clocks of the node and of the cloud are ahead, in milliseconds. */
  const clock = { node: 0, cloud: 0 };
  const cloudNow = (): number => Date.now() + clock.cloud;
  const account = createAlibabaAccount({ now: cloudNow });
  const ca = createTestCa();
  const tls = ca.issue();
  const [kms, oos, sts, metadata] = await Promise.all([
    startFakeKms({ account, tls }),
    startFakeOos({ account, region: alibabaRegion, now: cloudNow, tls }),
    startFakeSts({ account, roles, now: cloudNow, isIssued, tls }),
    startFakeAlibabaMetadata({ account, region: alibabaRegion, tokens: metadataTokens }),
  ]);
  const http = createHttpClient({ ca: [ca.cert] });
  const config: AlibabaCloudConfig = {
    kms: kms.url,
    oos: oos.url,
    sts: sts.url,
    metadata: metadata.url,
    allowedEndpoints: [],
    gatewayCa: [],
    perSecond: 10,
    burst: 200,
  };
  return {
    ...{ account, kms, oos, sts, metadata, http, config, clock, tls },
    /** PEM. Clients of the fakes must trust it. */
    ca: ca.cert,
    now: (): number => Date.now() + clock.node,
    async close() {
      await http.close();
      await Promise.all([kms, oos, sts, metadata].map((server) => server.close()));
    },
  };
}

export type FakeAlibabaCloud = Awaited<ReturnType<typeof startAlibabaCloud>>;
