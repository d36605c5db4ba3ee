import { Counter, Histogram, type Registry } from 'prom-client';

/** The metrics of mounts. Their labels are bounded: providers and error codes. */
export class MountMetrics {
  readonly classWarnings: Counter<'provider'>;
  readonly #mounts: Counter<'provider' | 'code'>;
  readonly #seconds: Histogram<'provider'>;
  readonly #cpuWaitSeconds: Histogram;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#mounts = new Counter({
      name: 'keyferry_mounts_total',
      help: 'Mount requests by error code; OK for a volume.',
      labelNames: ['provider', 'code'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'keyferry_mount_duration_seconds',
      help: 'Seconds from request to response.',
      labelNames: ['provider'],
      buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 110],
      registers,
    });
    this.#cpuWaitSeconds = new Histogram({
      name: 'keyferry_cpu_wait_seconds',
      help: 'Seconds that mounts with large classes waited while other mounts used the CPU.',
      buckets: [0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 110],
      registers,
    });
    this.classWarnings = new Counter({
      name: 'keyferry_class_warnings_total',
      help: 'Problems in classes that did not stop a mount, such as unknown keys.',
      labelNames: ['provider'],
      registers,
    });
  }

  /** Counts a finished mount. `code` is `OK` for a volume, otherwise the error's code. */
  recordMount(provider: string, code: string, ms: number): void {
    this.#mounts.inc({ provider, code });
    this.#seconds.observe({ provider }, ms / 1000);
  }

  /** Records how long a part of a mount waited for CPU time. */
  recordCpuWait(ms: number): void {
    this.#cpuWaitSeconds.observe(ms / 1000);
  }
}
