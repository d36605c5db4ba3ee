import type { KubeClient } from './kube-client.ts';

/** The requests of the driver's CSIDriver object to the kubelet. */
export type CsiDriver = {
  readonly spec: {
    readonly podInfoOnMount?: boolean;
    readonly requiresRepublish?: boolean;
    readonly tokenRequests?: readonly {
      readonly audience: string;
      readonly expirationSeconds?: number;
    }[];
  };
};

/** The pod a token is bound to. */
export type TokenPod = {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly serviceAccount: string;
};

/** A pod's tokens by audience. @throws KubeError, such as for a missing ServiceAccount */
export type PodTokens = (pod: TokenPod) => Promise<Readonly<Record<string, string>>>;

type Issued = { readonly token: string; readonly useUntil: number };

/**
 * Mints tokens as the kubelet does: one for each audience of the CSIDriver object, with
 * TokenRequest, bound to the pod, and reused for 80 % of their lifetime.
 */
export function createPodTokens(kube: KubeClient, driverName: string): PodTokens {
  const issued = new Map<string, Issued>();

  async function tokenFor(
    pod: TokenPod,
    audience: string,
    expirationSeconds: number,
  ): Promise<string> {
    const key = JSON.stringify([pod.uid, audience]);
    const known = issued.get(key);
    if (known !== undefined && known.useUntil > Date.now()) return known.token;
    const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name: pod.name, uid: pod.uid };
    const { status } = await kube.post<{ status: { token: string } }>(
      `/api/v1/namespaces/${pod.namespace}/serviceaccounts/${pod.serviceAccount}/token`,
      {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { audiences: audience === '' ? [] : [audience], expirationSeconds, boundObjectRef },
      },
    );
    issued.set(key, { token: status.token, useUntil: Date.now() + expirationSeconds * 800 });
    return status.token;
  }

  return async (pod) => {
    const { spec } = await kube.get<CsiDriver>(`/apis/storage.k8s.io/v1/csidrivers/${driverName}`);
    const entries = (spec.tokenRequests ?? []).map(
      async ({ audience, expirationSeconds = 3_600 }) =>
        [audience, await tokenFor(pod, audience, expirationSeconds)] as const,
    );
    return Object.fromEntries(await Promise.all(entries));
  };
}
