/** What messages say where a cluster and a host without Kubernetes differ. */
export type AlibabaTexts = {
  /** What the machine is called. */
  readonly machine: 'node' | 'host';
  /** Begins the message if the machine has no RAM role: what was tried before. */
  readonly triedBefore: string;
  /** The remedy where the machine has no RAM role. */
  readonly noRoleHint: string;
  /** The remedy where the metadata service cannot be reached. */
  readonly metadataHint: string;
  /** The remedy where the region is not known. */
  readonly regionHint: string;
  /** The name of the session of a role that the identity assumes, in the audit log. */
  readonly roleSessionName: string;
};

export const clusterTexts: AlibabaTexts = {
  machine: 'node',
  triedBefore: '',
  noRoleHint: 'attach a RAM role to the node, or configure keys or a role with an OIDC provider',
  metadataHint: 'the pod needs the way to it; or configure keys or a role with an OIDC provider',
  regionHint: 'set the parameter region',
  roleSessionName: 'csi-secrets-store-cross-account',
};

const giveKeys =
  'give keys: access_key and secret_key in dso.yaml, ' +
  'or ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET in the environment';

/** @param hasTriedKeys whether keys would have served in place of the RAM role */
export function hostTexts({ hasTriedKeys }: { readonly hasTriedKeys: boolean }): AlibabaTexts {
  return {
    machine: 'host',
    triedBefore: hasTriedKeys ? 'there are no keys in dso.yaml or in the environment, and ' : '',
    noRoleHint: `attach a RAM role to the ECS instance, or ${giveKeys}`,
    metadataHint: `on an ECS instance check the way to it; elsewhere ${giveKeys}`,
    regionHint: 'set region in dso.yaml',
    roleSessionName: 'keyferry',
  };
}
