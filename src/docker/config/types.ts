import type { StoreConfig } from '../../core/host-store.ts';

/** Whether a secret becomes a variable or a file. */
export type Inject =
  | { readonly type: 'env' }
  | {
      readonly type: 'file';
      /** Relative to `/run/secrets/dso`. Absent: the path of the secret. */
      readonly path?: string | undefined;
      readonly uid?: number | undefined;
      readonly gid?: number | undefined;
      /** Permission bits. Absent: the agent's default. */
      readonly mode?: number | undefined;
    };

/** The strategies of {@link Rotation}. */
export const rotationStrategies = ['restart', 'rolling', 'signal', 'auto', 'none'] as const;

/** What happens to a service when one of its secrets changes. */
export type Rotation = {
  readonly enabled: boolean;
  /** `auto`: the agent chooses. `none`: new files only. */
  readonly strategy: (typeof rotationStrategies)[number];
  /** For the strategy `signal`: `SIGHUP`. */
  readonly signal?: string;
  /** How long a container may take to stop, in milliseconds. */
  readonly graceMs?: number;
};

/** One entry of `secrets`. */
export type SecretConfig = {
  /** The path, as in a reference. */
  readonly name: string;
  /** The store's name. Absent: dso.yaml names no store. */
  readonly provider?: string;
  readonly inject: Inject;
  /** Absent: the entry does not say. */
  readonly rotation?: Rotation;
  /** The services that receive the variables of `mappings`. Absent: those that ask for them. */
  readonly targets?: {
    /** Names of services, or of containers. */
    readonly containers: readonly string[];
    /** A service with all of these labels is a target. */
    readonly labels: ReadonlyMap<string, string>;
  };
  /** Field of the secret to name of the variable. */
  readonly mappings: ReadonlyMap<string, string>;
};

/**
 * What some applications may read. Each list has globs: `*` matches any characters but `/`, and
 * `**` any characters.
 */
export type HostGrant = {
  readonly projects: readonly string[];
  /** Absent: all services. */
  readonly services?: readonly string[] | undefined;
  /** Names of stores. Absent: all stores. */
  readonly stores?: readonly string[] | undefined;
  /** For the path of a reference, without its field. */
  readonly paths: readonly string[];
};

/** dso.yaml, whichever of its two forms was written. */
export type DsoConfig = {
  /** By name. Empty: the configuration of the host names the store. */
  readonly providers: ReadonlyMap<string, StoreConfig>;
  readonly secrets: readonly SecretConfig[];
  readonly defaults: {
    /** The store of references that name none. Absent: there is no store, or no default. */
    readonly provider?: string;
    readonly rotation?: Rotation;
  };
  readonly agent: {
    readonly watch: { readonly pollingIntervalMs: number };
    /** Only in the configuration of a host. Absent: applications may read everything. */
    readonly grants?: readonly HostGrant[];
  };
  /** Whether `docker exec` sees the variables. */
  readonly exec: 'on' | 'off';
  /** Whether the runtime `dso` of the engine brings the variables, in place of the shim. */
  readonly runtime: 'on' | 'off';
};
