import { escapeUnprintable } from '../../core/safe-text.ts';
import type { AgentFailure, ServiceStatus } from '../agent-api.ts';
import { commandFlags, isOn, readFlags } from '../compose/flags.ts';
import { findProjectName } from '../compose/model.ts';
import type { CommandContext } from './context.ts';
import { failureText } from './output.ts';

/**
 * After `docker compose ps`: a line for each service of the application whose secrets or rotation
 * have failed. Without an agent that answers, it says nothing.
 * @returns whether one has failed
 */
export async function reportFailures(context: CommandContext): Promise<boolean> {
  const { line, docker, agent, stderr } = context;
  const table = commandFlags.get('ps') ?? { names: new Map(), values: new Set() };
  if (isOn(readFlags(line.args, table, { interspersed: true }).parts, 'help')) return false;
  const services = await agent.services().catch(() => []);
  const failed = services.filter((service) => failureOf(service) !== undefined);
  // Compose takes a moment to find the name.
  if (failed.length === 0) return false;
  const project = await findProjectName(docker, line.compose);
  const own = failed.filter((service) => service.project === project);
  for (const status of own)
    stderr.write(`docker dso: ${escapeUnprintable(failureOf(status) ?? '')}\n`);
  return own.length > 0;
}

function failureOf({ service, state, failure, rotation }: ServiceStatus): string | undefined {
  if (state === 'FAILED') return `${service}: the last start or read failed${causeOf(failure)}`;
  if (rotation?.state !== 'failed') return undefined;
  const cause = causeOf(rotation.failure);
  return `${service}: the last rotation failed, and the agent tries again${cause}`;
}

function causeOf(failure: AgentFailure | undefined): string {
  return failure === undefined ? '' : `: ${failureText(failure)}`;
}
