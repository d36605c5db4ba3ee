import { randomUUID } from 'node:crypto';
import { Redacted } from '../../core/redacted.ts';
import { type RawMountRequest, buildWorkload, withoutDriverKeys } from '../../csi/mount-request.ts';
import type { MountRequest } from '../../mount/types.ts';
import { claimedPodUid } from '../../providers/shared/identity/workload-token.ts';
import type { SecretProviderClass } from '../lint/class-object.ts';

/** The pod of a mount, with its tokens and keys. */
export type Requester = {
  readonly namespace: string;
  readonly pod: string;
  readonly serviceAccount: string;
  /** By audience. */
  readonly tokens?: Readonly<Record<string, string>>;
  /** The keys of its nodePublishSecretRef. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Default: that of the pod to which a token is bound, else a new one, as for a new pod. */
  readonly uid?: string;
};

/** The same request in the form of the pipeline. @throws SecretError INVALID_REQUEST */
export function buildPipelineRequest(
  spc: Pick<SecretProviderClass, 'name' | 'parameters'> & { readonly provider: string },
  requester: Requester,
): MountRequest {
  const { namespace, pod, serviceAccount, tokens = {}, secrets = {} } = requester;
  const uid = podUidOf(requester);
  return {
    workload: buildWorkload({
      provider: spc.provider,
      namespace,
      serviceAccount,
      pod,
      uid,
      volume: 'secrets',
      className: spc.name,
      tokens: new Map(
        Object.entries(tokens).map(([audience, token]) => [
          audience,
          { token: new Redacted(token) },
        ]),
      ),
      secrets: new Map(Object.entries(secrets).map(([key, value]) => [key, new Redacted(value)])),
    }),
    parameters: withoutDriverKeys(spc.parameters),
    permission: 0o644,
  };
}

/** The request that a driver 1.6 sends for a pod with a volume of the class. */
export function buildMountRequest(
  spc: Pick<SecretProviderClass, 'name' | 'parameters'>,
  requester: Requester,
): RawMountRequest {
  const { namespace, pod, serviceAccount, tokens = {}, secrets = {} } = requester;
  const uid = podUidOf(requester);
  const expirationTimestamp = new Date(Date.now() + 3_600_000).toISOString();
  const tokenEntries = Object.entries(tokens).map(([audience, token]) => [
    audience,
    { token, expirationTimestamp },
  ]);
  const attributes = [
    ...Object.entries(spc.parameters),
    ['secretProviderClass', spc.name],
    ['csi.storage.k8s.io/pod.name', pod],
    ['csi.storage.k8s.io/pod.namespace', namespace],
    ['csi.storage.k8s.io/pod.uid', uid],
    ['csi.storage.k8s.io/serviceAccount.name', serviceAccount],
    ['csi.storage.k8s.io/ephemeral', 'true'],
  ];
  if (tokenEntries.length > 0)
    attributes.push([
      'csi.storage.k8s.io/serviceAccount.tokens',
      JSON.stringify(Object.fromEntries(tokenEntries)),
    ]);
  return {
    attributes: JSON.stringify(Object.fromEntries(attributes)),
    secrets: Object.keys(secrets).length === 0 ? 'null' : JSON.stringify(secrets),
    targetPath: `/var/lib/kubelet/pods/${uid}/volumes/kubernetes.io~csi/secrets/mount`,
    permission: '420',
  };
}

function podUidOf({ uid, tokens = {} }: Requester): string {
  const claimed = Object.values(tokens).map(claimedPodUid);
  return uid ?? claimed.find((each) => each !== undefined) ?? randomUUID();
}
