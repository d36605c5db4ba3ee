import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** The metrics of the transport. */
export type CsiMetrics = ReturnType<typeof createCsiMetrics>;

/** Registers the metrics of the transport. `inFlight` returns the number of mounts in flight. */
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
      help: 'How often the path was gone and the socket was bound again.',
      labelNames: ['provider'],
      registers,
    }),
    requestsInFlight: new Gauge({
      name: 'keyferry_requests_in_flight',
      help: 'Mounts that have no response yet.',
      registers,
      // Set when Prometheus scrapes, so that it costs a mount nothing.
      collect() {
        this.set(inFlight());
      },
    }),
    transportFailures: new Counter({
      name: 'keyferry_transport_failures_total',
      help: 'Mounts that the transport itself ended: too late, too large, cancelled, at shutdown, by a defect.',
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
