import { Counter, Histogram, type Registry } from 'prom-client';

/** What mounts are counted by. Labels are bounded: providers and error codes. */
export type MountMetrics = {
  /** Mounts answered, by code; `OK` for a volume. */
  readonly mounts: Counter<'provider' | 'code'>;
  readonly seconds: Histogram<'provider'>;
  readonly classWarnings: Counter<'provider'>;
};

/** Declares the walk's metrics. */
export function createMountMetrics(registry: Registry): MountMetrics {
  const registers = [registry];
  return {
    mounts: new Counter({
      name: 'keyferry_mounts_total',
      help: 'Mount requests answered, by error code; OK for a volume.',
      labelNames: ['provider', 'code'],
      registers,
    }),
    seconds: new Histogram({
      name: 'keyferry_mount_duration_seconds',
      help: 'Seconds from request to answer.',
      labelNames: ['provider'],
      buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 110],
      registers,
    }),
    classWarnings: new Counter({
      name: 'keyferry_class_warnings_total',
      help: 'Faults in classes that did not stop a mount, such as unknown keys.',
      labelNames: ['provider'],
      registers,
    }),
  };
}
