import type { Parameters } from '../../../core/workload.ts';
import type { HomeRegion } from '../../shared/identity/home-region.ts';
import type { AlibabaConfig } from '../config.ts';
import type { AlibabaNodeFacts } from '../types.ts';
import { planAlibaba } from './parameters.ts';

/**
 * Returns the node facts of a class. The home region is looked up only for an object whose region
 * the class does not name.
 */
export function createNodeFacts(deps: {
  readonly config: Pick<AlibabaConfig, 'cloud'>;
  readonly homeRegion: HomeRegion;
}) {
  const { homeRegion } = deps;
  const { allowedEndpoints } = deps.config.cloud;
  return async (parameters: Parameters, signal: AbortSignal): Promise<AlibabaNodeFacts> => {
    const region = needsNodeRegion(parameters) ? await homeRegion.get(signal) : homeRegion.known;
    return { allowedEndpoints, ...(region !== undefined && { region }) };
  };
}

/** False for a class with errors: the user sees those errors, not one of the metadata service. */
function needsNodeRegion(parameters: Parameters): boolean {
  const { plan } = planAlibaba(parameters);
  return plan?.refs.some((ref) => ref.region === undefined) === true;
}
