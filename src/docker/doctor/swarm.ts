import type { AgentInfo } from '../agent-api.ts';
import { type Finding, failed, seeLog } from './findings.ts';

/** The secrets of a swarm that the agent could not give. The engine does not say why. */
export function checkSwarm({
  swarmFailures = [],
}: Pick<AgentInfo, 'swarmFailures'>): readonly Finding[] {
  return swarmFailures.map(({ service, secret, failure: { message, hint = seeLog } }) =>
    failed(`secret ${secret} of ${service}`, message, hint),
  );
}
