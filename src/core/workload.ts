import type { Redacted } from './redacted.ts';

/** A token the driver brought for one audience. Its claims are not yet checked. */
export type SuppliedToken = {
  readonly token: Redacted;
  /** Milliseconds since the epoch, where the driver said so. */
  readonly expiresAt?: number;
};

/** Who asks for a mount: a program, by the facts its platform vouches for. */
export type Workload = {
  readonly tenant: string;
  readonly identity: { readonly name: string };
  /**
   * What pod scope isolates, unique for the life of the workload: the pod's uid, or a container's id where there is no
   * Kubernetes.
   */
  readonly instance: string;
  /** Kubernetes facts; absent under Docker. */
  readonly pod?: { readonly name: string; readonly uid: string };
  /** The volume: instance and target path, or instance and provider. Compared, never opened. */
  readonly volume: string;
  /** The SecretProviderClass's name, where the driver told it. */
  readonly className?: string;
  /** Tokens by audience. */
  readonly tokens: ReadonlyMap<string, SuppliedToken>;
  /** Keys the workload brought (`nodePublishSecretRef`), by name as written. Tokens are never among them. */
  readonly secrets: ReadonlyMap<string, Redacted>;
};

/** A class's parameters, overlaid by the pod's, without the driver's own keys. Has no prototype. */
export type Parameters = Readonly<Record<string, string>>;
