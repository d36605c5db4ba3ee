import type { Redacted } from './redacted.ts';

/** A token that the driver supplied for one audience. Its claims are not yet checked. */
export type SuppliedToken = {
  readonly token: Redacted;
  /** Milliseconds since the epoch, if the driver supplied it. */
  readonly expiresAt?: number;
};

/** The program that requests a mount, as its platform describes it. */
export type Workload = {
  readonly tenant: string;
  readonly identity: { readonly name: string };
  /**
   * The unit of pod scope, unique for the life of the workload: the pod's uid, or a container's id
   * without Kubernetes.
   */
  readonly instance: string;
  /** Absent without Kubernetes. */
  readonly pod?: { readonly name: string; readonly uid: string };
  /** The volume: provider, tenant, identity, instance and target path. Never opened as a path. */
  readonly volume: string;
  /** The name of the SecretProviderClass, if the driver supplied it. */
  readonly className?: string;
  /** Tokens by audience. */
  readonly tokens: ReadonlyMap<string, SuppliedToken>;
  /**
   * Keys that the pod supplied (`nodePublishSecretRef`), by name as written. Never includes tokens.
   */
  readonly secrets: ReadonlyMap<string, Redacted>;
};

/** A class's parameters with the pod's overrides, without the driver's own keys. No prototype. */
export type Parameters = Readonly<Record<string, string>>;
