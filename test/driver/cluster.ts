import { parseAllDocuments } from 'yaml';
import type { MountFailure } from './mount-result.ts';
import type { ContainerFile } from './container.ts';
import type { Event, SecretObject, SyncedSecrets } from './synced-secrets.ts';

/** A SecretProviderClass as the driver reads it from the API server. */
export type SecretProviderClass = {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly provider: string;
    readonly parameters?: Readonly<Record<string, string>>;
    readonly secretObjects?: readonly SecretObject[];
  };
};

/** The pod information that the kubelet sends to the driver. */
export type Pod = {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly serviceAccount: string;
};

/** A pod with one volume, and its objects in the cluster. */
export type Publication = {
  /** The class, or a YAML text with it. */
  readonly class: SecretProviderClass | string;
  /** Missing fields get defaults. Each pod gets a new uid. */
  readonly pod?: Partial<Pod>;
  /** The volume's name in the pod; default `s`. */
  readonly volume?: string;
  /** The pod's own `volumeAttributes`. */
  readonly attributes?: Readonly<Record<string, string>>;
  /**
   * By audience, as `tokenRequests` sends them. Drivers up to 1.5 mint the same when they rotate.
   */
  readonly tokens?: Readonly<Record<string, string>>;
  readonly nodePublishSecret?: Readonly<Record<string, string>>;
};

/** A pod and its volume as a user sees them after a round of the driver. */
export type PodView = {
  readonly pod: Pod;
  /** The volume's name in the pod. */
  readonly volume: string;
  /** `Pending`: the volume could not be mounted, and the kubelet goes on trying. */
  readonly phase: 'Running' | 'Pending';
  /**
   * The pod runs with an empty directory as its volume: after a status that is not final, driver
   * 1.6
   * treats the directory that it left as a mounted volume. The pod stays in this state.
   */
  readonly trapped: boolean;
  /** The volume's directory on the node. */
  readonly directory: string;
  /** By path. */
  readonly files: Readonly<Record<string, ContainerFile>>;
  /** `kubectl get secretproviderclasspodstatuses`; undefined before the first mount. */
  readonly status?: {
    readonly name: string;
    readonly objects: readonly { readonly id: string; readonly version: string }[];
  };
  /** All events so far, oldest first. */
  readonly events: readonly Event[];
  /**
   * The result of the last round; `skipped`: no mount was sent. Users do not see a failure of a
   * republish in 1.6.
   */
  readonly last: 'mounted' | 'skipped' | MountFailure;
  /** The Kubernetes Secrets created from the files. */
  readonly secrets: SyncedSecrets;
};

/** The first SecretProviderClass among the documents of a YAML text. */
export function parseClass(text: string): SecretProviderClass {
  const objects = parseAllDocuments(text).map(
    (document) => document.toJS() as { kind?: string } | null,
  );
  const found = objects.find((object) => object?.kind === 'SecretProviderClass');
  if (found === undefined) throw new Error('no SecretProviderClass in the text');
  return found as unknown as SecretProviderClass;
}
