import { Counter, Histogram, type Registry } from 'prom-client';

/** What mounts are counted by. Labels are bounded: providers and error codes. */
export type MountMetrics = {
  /** A mount was answered; `code` is `OK` for a volume. */
  answered(provider: string, code: string, ms: number): void;
  readonly classWarnings: Counter<'provider'>;
};

/** Declares the walk's metrics. */
export function createMountMetrics(registry: Registry): MountMetrics {
  const registers = [registry];
  const mounts = new Counter({
    name: 'keyferry_mounts_total',
    help: 'Mount requests answered, by error code; OK for a volume.',
    labelNames: ['provider', 'code'],
    registers,
  });
  const seconds = new Histogram({
    name: 'keyferry_mount_duration_seconds',
    help: 'Seconds from request to answer.',
    labelNames: ['provider'],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 110],
    registers,
  });
  return {
    answered(provider, code, ms) {
      mounts.inc({ provider, code });
      seconds.observe({ provider }, ms / 1000);
    },
    classWarnings: new Counter({
      name: 'keyferry_class_warnings_total',
      help: 'Faults in classes that did not stop a mount, such as unknown keys.',
      labelNames: ['provider'],
      registers,
    }),
  };
}
