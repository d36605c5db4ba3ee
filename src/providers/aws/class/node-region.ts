import { SecretError } from '../../../core/errors.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import type { NodeFactsContext } from '../../../core/provider.ts';
import type { Parameters } from '../../../core/workload.ts';
import { type Nodes, regionLabel } from '../../../kube/nodes.ts';
import { isRegion } from '../../shared/class/parameters.ts';
import { HomeRegion } from '../../shared/identity/home-region.ts';
import type { AwsConfig } from '../config.ts';
import { type AwsNodeFacts, planAws } from './parameters.ts';

const hint = 'set region in the class, or AWS_REGION in the DaemonSet of Keyferry';

/** The home region of AWS's provider. The node's region is a label of its object in Kubernetes. */
export function createHomeRegion(deps: {
  readonly config: Pick<AwsConfig, 'region' | 'nodeName'>;
  readonly nodes: Nodes;
}): HomeRegion {
  const { config, nodes } = deps;
  return new HomeRegion(config.region, (signal) => nodeRegionOf(config.nodeName, nodes, signal));
}

/** Finds the region of objects for which neither the class nor an ARN names one. */
export function createNodeFacts(homeRegion: HomeRegion) {
  return async (
    parameters: Parameters,
    { signal, run }: NodeFactsContext,
  ): Promise<AwsNodeFacts> => {
    // A class with errors needs no region: the mount fails anyway.
    const { plan } = await run(planAws(parameters));
    const isNeeded = plan?.refs.some((ref) => ref.region === undefined) === true;
    return isNeeded ? { region: await homeRegion.get(signal) } : {};
  };
}

async function nodeRegionOf(
  node: string | undefined,
  nodes: Nodes,
  signal: AbortSignal,
): Promise<string> {
  if (node === undefined)
    throw new SecretError(
      'NOT_CONFIGURED',
      'aws: the class names no region, and Keyferry does not know its node',
      {
        hint: `${hint}, or KEYFERRY_NODE_NAME there from spec.nodeName`,
      },
    );
  const region = await nodes.region(node, signal).catch((thrown: unknown) => {
    throw thrown instanceof SecretError && thrown.code === 'NOT_CONFIGURED'
      ? new SecretError('NOT_CONFIGURED', `aws: the class names no region, and ${thrown.message}`, {
          hint: thrown.hint ?? hint,
        })
      : thrown;
  });
  if (isRegion(region)) return region;
  throw new SecretError(
    'NOT_CONFIGURED',
    `aws: the label ${regionLabel} of the node ${sanitizeUserText(node)} is not a region: ${sanitizeUserText(region)}`,
    { hint },
  );
}
