import { sanitizeUserText } from '../../core/safe-text.ts';
import { plainText } from './compose-model.ts';
import type { Injection, ReportInService, ServiceInModel } from './types.ts';

/** The name by which the engine knows the runtime that `system setup --runtime` registers. */
export const runtimeName = 'dso';

/** What stands in the way of `runtime: on`. */
export function checkRuntime(
  { service, definition: { runtime } }: ServiceInModel,
  { exec }: Injection,
  report: ReportInService,
): void {
  const name = sanitizeUserText(service);
  if (typeof runtime === 'string' && runtime !== runtimeName)
    report(
      ...(['error', 'CANNOT_INJECT', ['runtime']] as const),
      `service ${name} has the runtime ${sanitizeUserText(plainText(runtime))}, and runtime: on of dso.yaml needs the runtime ${runtimeName}`,
      'remove runtime from the service, or write runtime: off in dso.yaml',
    );
  if (exec === 'off')
    report(
      ...(['error', 'CANNOT_INJECT', []] as const),
      `service ${name} cannot have exec: off with runtime: on, because the runtime gives the variables to each program of docker exec`,
      'write exec: on or runtime: off in dso.yaml',
    );
}
