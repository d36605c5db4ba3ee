import type { DriverRequest } from '../../src/csi/client.ts';
import type { Pod, SecretProviderClass } from './cluster.ts';

/** Everything that determines a driver's request to a provider. */
export type MountRequestInput = {
  /**
   * `rotation` is the ticker of drivers up to 1.5. A republish of 1.6 is a `publish`, as the first
   * mount.
   */
  readonly trigger: 'publish' | 'rotation';
  readonly class: SecretProviderClass;
  readonly pod: Pod;
  /** The pod's own `volumeAttributes`, which override the class. */
  readonly attributes: Readonly<Record<string, string>>;
  /** By audience. */
  readonly tokens: Readonly<Record<string, string>>;
  readonly nodePublishSecret: Readonly<Record<string, string>> | undefined;
  /** Kubernetes >= 1.35 with `serviceAccountTokenInSecrets`: the secrets hold the tokens too. */
  readonly tokensInSecrets: boolean;
  readonly targetPath: string;
  /** The versions of the last mount. */
  readonly versions: readonly { readonly id: string; readonly version: string }[];
};

const prefix = 'csi.storage.k8s.io';
const tokenLifeMs = 3_600_000;

/** The request that a driver of that generation sends. */
export function mountRequest(input: MountRequestInput): DriverRequest {
  const { trigger, pod, tokens, nodePublishSecret, tokensInSecrets } = input;
  const isRotation = trigger === 'rotation';
  const tokenKey = `${prefix}/serviceAccount.tokens`;
  const tokenAttributes = Object.keys(tokens).length === 0 ? {} : { [tokenKey]: tokenJson(tokens) };
  const attributes = {
    ...input.class.spec.parameters,
    // Drivers up to 1.5 leave out the pod's own attributes and two of their own keys when they
    // rotate.
    ...(isRotation ? {} : input.attributes),
    ...(isRotation
      ? {}
      : { secretProviderClass: input.class.metadata.name, [`${prefix}/ephemeral`]: 'true' }),
    [`${prefix}/pod.name`]: pod.name,
    [`${prefix}/pod.namespace`]: pod.namespace,
    [`${prefix}/pod.uid`]: pod.uid,
    [`${prefix}/serviceAccount.name`]: pod.serviceAccount,
    ...tokenAttributes,
  };
  const secrets = { ...nodePublishSecret, ...(tokensInSecrets ? tokenAttributes : {}) };
  const hasSecrets = nodePublishSecret !== undefined || Object.keys(secrets).length > 0;
  return {
    attributes: JSON.stringify(attributes),
    secrets: hasSecrets || isRotation ? JSON.stringify(secrets) : 'null',
    targetPath: input.targetPath,
    permission: '420',
    currentVersions: isRotation ? input.versions : [],
  };
}

function tokenJson(tokens: Readonly<Record<string, string>>): string {
  const expirationTimestamp = new Date(Date.now() + tokenLifeMs).toISOString();
  const entries = Object.entries(tokens).map(([audience, token]) => [
    audience,
    { token, expirationTimestamp },
  ]);
  return JSON.stringify(Object.fromEntries(entries));
}
