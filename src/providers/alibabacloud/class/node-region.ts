import type { NodeFactsContext } from '../../../core/provider.ts';
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
  return async (
    parameters: Parameters,
    { signal, run }: NodeFactsContext,
  ): Promise<AlibabaNodeFacts> => {
    // For a class with errors the user sees those errors, not one of the metadata service.
    const { plan } = await run(planAlibaba(parameters));
    const isNeeded = plan?.refs.some((ref) => ref.region === undefined) === true;
    const region = isNeeded ? await homeRegion.get(signal) : homeRegion.known;
    return { allowedEndpoints, ...(region !== undefined && { region }) };
  };
}
