import { SingleFlight } from '../../../concurrency/single-flight.ts';
import type { Parameters } from '../../../core/workload.ts';
import type { AlibabaConfig } from '../config.ts';
import type { Metadata } from '../credentials/metadata.ts';
import type { AlibabaNodeFacts } from '../types.ts';
import { planAlibaba } from './parameters.ts';

/**
 * Returns the node facts of a class. The metadata service is called once, and only for an object
 * whose region neither the class nor the operator names. There is no default region.
 */
export function createNodeFacts(deps: {
  readonly config: AlibabaConfig;
  readonly metadata: Pick<Metadata, 'region'>;
}) {
  const { config, metadata } = deps;
  const { allowedEndpoints } = config.cloud;
  const singleFlight = new SingleFlight<string>();
  let { region } = config;

  return async (parameters: Parameters, signal: AbortSignal): Promise<AlibabaNodeFacts> => {
    if (region === undefined && needsNodeRegion(parameters))
      region = await singleFlight.run('region', signal, (callSignal) =>
        metadata.region(callSignal),
      );
    return { allowedEndpoints, ...(region !== undefined && { region }) };
  };
}

/** False for a class with errors: the user sees those errors, not one of the metadata service. */
function needsNodeRegion(parameters: Parameters): boolean {
  const { plan } = planAlibaba(parameters);
  return plan?.refs.some((ref) => ref.region === undefined) === true;
}
