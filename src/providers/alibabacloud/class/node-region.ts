import { SingleFlight } from '../../../concurrency/single-flight.ts';
import type { Parameters } from '../../../core/workload.ts';
import type { AlibabaConfig } from '../config.ts';
import type { Metadata } from '../credentials/metadata.ts';
import type { AlibabaNodeFacts } from '../types.ts';
import { planAlibaba } from './parameters.ts';

/**
 * The region that the operator set, else the region of the node, for which the metadata service is
 * called once. There is no other default.
 */
export class HomeRegion {
  readonly #metadata: Pick<Metadata, 'region'>;
  readonly #singleFlight = new SingleFlight<string>();
  #region: string | undefined;

  constructor(deps: {
    readonly config: Pick<AlibabaConfig, 'region'>;
    readonly metadata: Pick<Metadata, 'region'>;
  }) {
    this.#region = deps.config.region;
    this.#metadata = deps.metadata;
  }

  /** Undefined before the first `get`, if the operator set none. */
  get known(): string | undefined {
    return this.#region;
  }

  /** @throws SecretError of the metadata service */
  async get(signal: AbortSignal): Promise<string> {
    this.#region ??= await this.#singleFlight.run('region', signal, (callSignal) =>
      this.#metadata.region(callSignal),
    );
    return this.#region;
  }
}

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
