import { SingleFlight } from '../../../concurrency/single-flight.ts';
import type { Parameters } from '../../../core/workload.ts';
import type { AlibabaConfig } from '../config.ts';
import type { Metadata } from '../credentials/metadata.ts';
import { planAlibaba } from './parameters.ts';
import type { AlibabaNodeFacts } from '../types.ts';

/**
 * What a node says for all classes. Its region is asked for once, and only when an object of a class needs it: where neither the class
 * nor the operator names one. It is never guessed.
 */
export function createNodeFacts(deps: {
  readonly config: AlibabaConfig;
  readonly metadata: Pick<Metadata, 'region'>;
}) {
  const { config, metadata } = deps;
  const { allowedEndpoints } = config.cloud;
  const flights = new SingleFlight<string>();
  let { region } = config;

  return async (parameters: Parameters, signal: AbortSignal): Promise<AlibabaNodeFacts> => {
    if (region === undefined && leavesRegionOpen(parameters))
      region = await flights.run('region', signal, (flight) => metadata.region(flight));
    return { allowedEndpoints, ...(region !== undefined && { region }) };
  };
}

/** A class that cannot be compiled needs nothing: its faults are to be told. */
function leavesRegionOpen(parameters: Parameters): boolean {
  const { plan } = planAlibaba(parameters);
  return plan?.refs.some((ref) => ref.region === undefined) === true;
}
