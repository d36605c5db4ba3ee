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
export type PrincipalOf = (workload: Workload, login: CceLogin) => Principal<CceCredential>;

/** The cluster's principal, and one for each ServiceAccount that logs in by its own tokens. */
export function createPrincipals(deps: {
  readonly config: CceConfig;
  readonly region: RegionConfig;
  readonly credentials: Credentials;
  readonly fingerprint: Fingerprint;
  readonly now: () => number;
}): PrincipalOf {
  const { config, region, credentials, fingerprint, now } = deps;
  const place = {
    provider: 'cce',
    csms: region.csms.href,
    iam: region.iam.href,
    region: region.name,
    project: region.projectId,
  };
  const { identity } = config;
  const clusterFingerprint = fingerprint({
    ...place,
    identity: identity.kind,
    // Both sources can change hands only with the process or the token file, but what they are is part of who asks.
    idp: identity.kind === 'id-token' ? identity.idpId : undefined,
    key: identity.kind === 'keys' ? identity.accessKey : undefined,
  });
  const cluster: Principal<CceCredential> = {
    fingerprint: clusterFingerprint,
    description: credentials.clusterOwner,
    identity: 'shared',
    credentials: (signal) => credentials.ofCluster(clusterFingerprint, signal),
  };

  return (workload, login) => {
    if (login.identity === 'cluster') return cluster;
    const { agencyUrn, providerUrn, audience } = login;
    const { namespace, serviceAccount } = workload;
    const { token, issuer, serviceAccountUid } = readWorkloadToken(workload, audience, now());
    const own = fingerprint({
      ...place,
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
      fingerprint: own,
      description: `agency ${agencyUrn} as ${session.sessionName}`,
      identity: 'own',
      credentials: (signal) => credentials.ofPod(own, session, signal),
    };
  };
}
