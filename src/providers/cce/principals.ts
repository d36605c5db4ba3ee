import type { Workload } from '../../core/workload.ts';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { Principal } from '../../core/provider.ts';
import { readWorkloadToken } from '../shared/identity/workload-token.ts';
import type { CceConfig, RegionConfig } from './config.ts';
import type { Credentials } from './credentials/index.ts';
import type { CceCredential } from './types.ts';
import { sessionNameOf } from './credentials/iam.ts';
import type { CceLogin } from './class.ts';

/** Whom CSMS sees for a workload. @throws SecretError TOKEN_MISSING, TOKEN_INVALID */
export type PrincipalResolver = (workload: Workload, login: CceLogin) => Principal<CceCredential>;

/** The cluster's principal, and one for each ServiceAccount that logs in by its own tokens. */
export function createPrincipalResolver(deps: {
  readonly config: CceConfig;
  readonly region: RegionConfig;
  readonly credentials: Credentials;
  readonly fingerprint: Fingerprint;
  readonly now: () => number;
}): PrincipalResolver {
  const { config, region, credentials, fingerprint, now } = deps;
  const storeFields = {
    provider: 'cce',
    csms: region.csms.href,
    iam: region.iam.href,
    region: region.name,
    project: region.projectId,
  };
  const { identity } = config;
  const clusterFingerprint = fingerprint({
    ...storeFields,
    identity: identity.kind,
    // Both sources can change hands only with the process or the token file, but what they are is part of who asks.
    idp: identity.kind === 'id-token' ? identity.idpId : undefined,
    key: identity.kind === 'keys' ? identity.accessKey : undefined,
  });
  const clusterPrincipal: Principal<CceCredential> = {
    fingerprint: clusterFingerprint,
    description: credentials.clusterOwner,
    identity: 'shared',
    credentials: (signal) => credentials.forCluster(clusterFingerprint, signal),
  };

  return (workload, login) => {
    if (login.identity === 'cluster') return clusterPrincipal;
    const { agencyUrn, providerUrn, audience } = login;
    const { tenant: namespace, identity: serviceAccount } = workload;
    const { token, issuer, serviceAccountUid } = readWorkloadToken(workload, audience, now());
    const podFingerprint = fingerprint({
      ...storeFields,
      identity: 'pod',
      sts: region.sts.href,
      agencyUrn,
      providerUrn,
      audience,
      issuer,
      namespace,
      serviceAccount: serviceAccount.name,
      serviceAccountUid,
    });
    const session = {
      agencyUrn,
      providerUrn,
      sessionName: sessionNameOf(namespace, serviceAccount.name),
      token,
    };
    return {
      fingerprint: podFingerprint,
      description: `agency ${agencyUrn} as ${session.sessionName}`,
      identity: 'own',
      credentials: (signal) => credentials.forPod(podFingerprint, session, signal),
    };
  };
}
