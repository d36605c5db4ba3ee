import { Counter, Gauge, type Registry } from 'prom-client';
import type { ServiceStatus } from '../agent-api.ts';
import type { Rotation } from '../config/types.ts';

const states = ['ACTIVE', 'STALE', 'INACTIVE', 'FAILED'] as const;

/** The metrics of services and their rotation. Labels are fixed words. */
export class RotationMetrics {
  readonly #rotations: Counter<'strategy' | 'result'>;

  /** @param services called when they are collected */
  constructor(registry: Registry, services: () => readonly ServiceStatus[]) {
    const registers = [registry];
    this.#rotations = new Counter({
      name: 'keyferry_rotations_total',
      help: 'Attempts to bring changed secrets to running containers, by result: succeeded, failed.',
      labelNames: ['strategy', 'result'],
      registers,
    });
    new Gauge({
      name: 'keyferry_services',
      help: 'Services of docker dso, by state as docker dso inspect shows it.',
      labelNames: ['state'],
      registers,
      collect() {
        const found = services();
        for (const state of states)
          this.set({ state }, found.filter((service) => service.state === state).length);
      },
    });
    new Gauge({
      name: 'keyferry_services_rotation_failed',
      help: 'Services whose last rotation has failed: containers keep earlier secrets.',
      registers,
      collect() {
        this.set(services().filter(({ rotation }) => rotation?.state === 'failed').length);
      },
    });
  }

  record(strategy: Rotation['strategy'], result: 'succeeded' | 'failed'): void {
    this.#rotations.inc({ strategy, result });
  }
}
