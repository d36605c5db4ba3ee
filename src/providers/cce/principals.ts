import { SecretError } from '../../core/errors.ts';
import type { Principal, SharedIdentityMode } from '../../core/provider.ts';
import type { Fingerprint } from '../shared/identity/fingerprint.ts';
import type { Identity, IdentitySource } from '../shared/identity/identity-source.ts';
import { readWorkloadToken } from '../shared/identity/workload-token.ts';
import type { ClusterIdentity, RegionConfig } from './config.ts';
import type { Credentials } from './credentials/index.ts';
import type { CceCredential, CceCredentialSource, CceLogin } from './types.ts';

/** See {@link createIdentitySources}. */
export type IdentitySourcesDeps = {
  readonly clusterIdentity: ClusterIdentity;
  /** The owner of the cluster's identity, for messages. */
  readonly clusterOwner: string;
  readonly region: RegionConfig;
  readonly sharedIdentityMode: SharedIdentityMode;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

type Source = IdentitySource<CceLogin, CceCredentialSource>;

/** The ways to an identity. The class chooses one: the pod's token, or the cluster's identity. */
export function createIdentitySources(deps: IdentitySourcesDeps): readonly [Source, Source] {
  return [podTokenSource(deps), clusterSource(deps)];
}

/** An agency's session for the token of the pod. One identity for each ServiceAccount. */
function podTokenSource({ region, now }: IdentitySourcesDeps): Source {
  return async (workload, login) => {
    if (login.kind !== 'pod') return undefined;
    const { agencyUrn, providerUrn, audience } = login;
    const { tenant: namespace, identity: serviceAccount } = workload;
    const { token, issuer, serviceAccountUid } = readWorkloadToken(workload, audience, now());
    const sessionName = sessionNameOf(namespace, serviceAccount.name);
    return {
      kind: 'own',
      description: `agency ${agencyUrn} as ${sessionName}`,
      credential: {
        kind: 'agency-session',
        session: { agencyUrn, providerUrn, sessionName, token },
      },
      fingerprintFields: {
        identity: 'pod',
        sts: region.sts.href,
        agencyUrn,
        providerUrn,
        audience,
        issuer,
        namespace,
        serviceAccount: serviceAccount.name,
        serviceAccountUid,
      },
    };
  };
}

/**
 * The identity that the operator configures for all workloads.
 * @param owner for messages
 */
export function clusterIdentityOf(
  configured: ClusterIdentity,
  owner: string,
): Identity<CceCredentialSource> {
  const keys = configured.kind === 'keys' ? configured : undefined;
  return {
    kind: 'shared',
    description: owner,
    credential: { kind: 'cluster' },
    fingerprintFields: {
      identity: configured.kind,
      idp: configured.kind === 'id-token' ? configured.idpId : undefined,
      key: keys?.accessKey,
      secretKey: keys?.secretKey.reveal(),
    },
  };
}

function clusterSource(deps: IdentitySourcesDeps): Source {
  const { clusterIdentity, clusterOwner, sharedIdentityMode } = deps;
  const identity = clusterIdentityOf(clusterIdentity, clusterOwner);
  return async (_workload, login) => {
    if (login.kind !== 'cluster') return undefined;
    if (sharedIdentityMode === 'none')
      throw new SecretError(
        'NOT_GRANTED',
        "cce: the class uses the cluster's identity, " +
          'and this node runs with --shared-identities none',
        { hint: 'give the pods an identity of their own: usePodOIDC, see docs/providers/cce.md' },
      );
    return identity;
  };
}

/** `namespace.account`, in the characters and the length that STS allows for a session name. */
export function sessionNameOf(namespace: string, serviceAccount: string): string {
  return `${namespace}.${serviceAccount}`.replace(/[^A-Za-z0-9_+=,.@-]/g, '-').slice(0, 128);
}

/** Makes the principal of an identity. */
export type PrincipalOf = (identity: Identity<CceCredentialSource>) => Principal<CceCredential>;

/** Equal identities make equal principals: their fingerprints are equal. */
export function createPrincipalOf(deps: {
  readonly region: RegionConfig;
  readonly credentials: Credentials;
  readonly fingerprint: Fingerprint;
}): PrincipalOf {
  const { region, credentials, fingerprint } = deps;
  const storeFields = {
    provider: 'cce',
    csms: region.csms.href,
    iam: region.iam.href,
    region: region.name,
    project: region.projectId,
  };
  return ({ kind, description, credential, fingerprintFields }) => {
    const principalFingerprint = fingerprint({ ...storeFields, ...fingerprintFields });
    return {
      fingerprint: principalFingerprint,
      description,
      kind,
      credentials: (signal) => credentials.get(principalFingerprint, credential, signal),
    };
  };
}
