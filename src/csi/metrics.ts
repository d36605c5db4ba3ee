import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** What the transport counts. */
export type CsiMetrics = ReturnType<typeof createCsiMetrics>;

/** Registers the transport's metrics. `inFlight` counts the mounts that are not answered yet. */
export function createCsiMetrics(registry: Registry, inFlight: () => number = () => 0) {
  const registers = [registry];
  return {
    socketOwned: new Gauge({
      name: 'keyferry_socket_owned',
      help: 'Whether the path of the provider leads to this process (1) or not (0).',
      labelNames: ['provider'],
      registers,
    }),
    socketRebinds: new Counter({
      name: 'keyferry_socket_rebinds_total',
      help: 'How often the socket had gone and was bound again.',
      labelNames: ['provider'],
      registers,
    }),
    requestsInFlight: new Gauge({
      name: 'keyferry_requests_in_flight',
      help: 'Mounts that are not answered yet.',
      registers,
      // Counted when asked for, so that a mount does not pay for it.
      collect() {
        this.set(inFlight());
      },
    }),
    transportFailures: new Counter({
      name: 'keyferry_transport_failures_total',
      help: 'Mounts that the transport itself ended: too late, too large, given up, at shutdown, by a defect.',
      labelNames: ['provider', 'code'],
      registers,
    }),
    responseBytes: new Histogram({
      name: 'keyferry_response_bytes',
      help: 'Sizes of the volumes sent.',
      labelNames: ['provider'],
      buckets: [1_024, 16_384, 131_072, 1_048_576, 4_194_304],
      registers,
    }),
  };
}
