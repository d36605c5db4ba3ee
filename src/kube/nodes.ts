import * as z from 'zod';
import { SecretError } from '../core/errors.ts';
import { sanitizeExternalText } from '../core/safe-text.ts';
import { SingleFlight } from '../concurrency/single-flight.ts';
import type { KubeApi } from './api.ts';

/** Where a cloud says in which region a node is: https://kubernetes.io/docs/reference/labels-annotations-taints/ */
export const regionLabel = 'topology.kubernetes.io/region';

/** What nodes say of themselves. */
export type Nodes = {
  /**
   * The region of a node. It never changes, so it is remembered; no failure is.
   * @throws SecretError NOT_CONFIGURED where there is no such node, or it says nothing of a region; ADMISSION_UNAVAILABLE where
   *   nobody can say; the signal's reason when it fires
   */
  region(node: string, signal: AbortSignal): Promise<string>;
};

const schema = z.object({
  metadata: z.object({ labels: z.record(z.string(), z.string()).nullish() }),
});

/** Asks the API server for nodes; needs the verb `get` for `nodes`. */
export function createNodes({ api }: { readonly api: Pick<KubeApi, 'get'> }): Nodes {
  const regions = new Map<string, string>();
  const singleFlight = new SingleFlight<string>();

  return {
    async region(node, signal) {
      const known = regions.get(node);
      if (known !== undefined) return known;
      const region = await singleFlight.run(node, signal, (sharedSignal) =>
        readRegion(api, node, sharedSignal),
      );
      regions.set(node, region);
      return region;
    },
  };
}

async function readRegion(
  api: Pick<KubeApi, 'get'>,
  node: string,
  signal: AbortSignal,
): Promise<string> {
  const label = `the node ${sanitizeExternalText(node)}`;
  const response = await api.get(['api', 'v1', 'nodes', node], signal).catch((thrown: unknown) => {
    signal.throwIfAborted();
    throw toNodeError(label, thrown);
  });
  const parsed = schema.safeParse(response);
  if (!parsed.success)
    throw new SecretError('ADMISSION_UNAVAILABLE', `${label} cannot be read: what came is no Node`);
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
