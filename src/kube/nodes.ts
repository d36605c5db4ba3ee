import * as z from 'zod';
import { SecretError } from '../core/errors.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import { SingleFlight } from '../concurrency/single-flight.ts';
import type { KubeApi } from './api.ts';

/**
 * The label with the region of a node:
 * https://kubernetes.io/docs/reference/labels-annotations-taints/
 */
export const regionLabel = 'topology.kubernetes.io/region';

const schema = z.object({
  metadata: z.object({ labels: z.record(z.string(), z.string()).nullish() }),
});

/** Reads nodes from the API server. It needs the verb `get` for `nodes`. */
export class Nodes {
  readonly #api: Pick<KubeApi, 'get'>;
  readonly #regions = new Map<string, string>();
  readonly #singleFlight = new SingleFlight<string>();

  constructor({ api }: { readonly api: Pick<KubeApi, 'get'> }) {
    this.#api = api;
  }

  /**
   * The region of a node. It never changes, so it is cached. A failure is not.
   * @throws SecretError NOT_CONFIGURED if there is no such node or it has no region;
   *   ADMISSION_UNAVAILABLE if the API server does not say; the reason of the signal when it fires
   */
  async region(node: string, signal: AbortSignal): Promise<string> {
    const known = this.#regions.get(node);
    if (known !== undefined) return known;
    const region = await this.#singleFlight.run(node, signal, (sharedSignal) =>
      readRegion(this.#api, node, sharedSignal),
    );
    this.#regions.set(node, region);
    return region;
  }
}

async function readRegion(
  api: Pick<KubeApi, 'get'>,
  node: string,
  signal: AbortSignal,
): Promise<string> {
  const label = `the node ${sanitizeUserText(node)}`;
  const response = await api.get(['api', 'v1', 'nodes', node], signal).catch((thrown: unknown) => {
    signal.throwIfAborted();
    throw toNodeError(label, thrown);
  });
  const parsed = schema.safeParse(response);
  if (!parsed.success)
    throw new SecretError(
      'ADMISSION_UNAVAILABLE',
      `${label} cannot be read: the response is not a Node`,
    );
  const region = parsed.data.metadata.labels?.[regionLabel]?.trim() ?? '';
  if (region !== '') return region;
  throw new SecretError('NOT_CONFIGURED', `${label} has no label ${regionLabel}`);
}

function toNodeError(label: string, thrown: unknown): unknown {
  if (!(thrown instanceof SecretError)) return thrown;
  const { code, message, hint } = thrown;
  if (code === 'OBJECT_NOT_FOUND')
    return new SecretError('NOT_CONFIGURED', `${label} does not exist`);
  if (code === 'ACCESS_DENIED')
    return new SecretError('ADMISSION_UNAVAILABLE', `Keyferry may not read ${label}: ${message}`, {
      hint: 'give its ClusterRole the verb get for nodes in the API group ""',
    });
  return new SecretError(
    code,
    `${label} cannot be read: ${message}`,
    hint === undefined ? {} : { hint },
  );
}
