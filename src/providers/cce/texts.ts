/** What messages say where a cluster and a host without Kubernetes differ. */
export type Texts = {
  /** Begins messages: the name of the provider, or the type of the store in dso.yaml. */
  readonly provider: string;
  /** What the machine is called. */
  readonly machine: 'node' | 'host';
  /** Begins the message if the machine has no agency: what was tried before. */
  readonly triedBefore: string;
  /** The remedy where the machine has no agency. */
  readonly noAgencyHint: string;
  /** The remedy where the metadata service cannot be reached. */
  readonly metadataHint: string;
  /** The remedy where the project is not known: `set HUAWEICLOUD_SDK_PROJECT_ID`. */
  readonly projectHint: string;
  /** The remedy where another server than CSMS responds. */
  readonly endpointHint: string;
};

export const clusterTexts: Texts = {
  provider: 'cce',
  machine: 'node',
  triedBefore: '',
  noAgencyHint:
    'attach an agency to the ECS, or configure keys or an identity provider: ' +
    'see docs/providers/cce.md',
  metadataHint:
    'the pod needs the way to it (hostNetwork, or no policy in between); ' +
    'or configure keys or an identity provider',
  projectHint: 'set HUAWEICLOUD_SDK_PROJECT_ID',
  endpointHint: 'check HUAWEICLOUD_SDK_CSMS_ENDPOINT and the region',
};

const giveKeys =
  'give keys: access_key and secret_key in dso.yaml, ' +
  'or HUAWEI_ACCESS_KEY_ID and HUAWEI_SECRET_ACCESS_KEY in the environment';

/** @param hasTriedKeys whether keys would have served in place of the agency */
export function hostTexts({ hasTriedKeys }: { readonly hasTriedKeys: boolean }): Texts {
  return {
    provider: 'huawei',
    machine: 'host',
    triedBefore: hasTriedKeys ? 'there are no keys in dso.yaml or in the environment, and ' : '',
    noAgencyHint: `attach an agency to the ECS, or ${giveKeys}`,
    metadataHint: `on an ECS check the way to it; elsewhere ${giveKeys}`,
    projectHint: 'set project_id in dso.yaml',
    endpointHint: 'check endpoint and region in dso.yaml',
  };
}
