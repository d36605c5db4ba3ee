import { providers } from '../../providers/registry.ts';
import { runSteps } from '../../core/steps.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { withoutDriverKeys } from '../../csi/mount-request.ts';
import type { SecretProviderClass } from '../lint/class-object.ts';

/**
 * What a server logs about a class that it mounts, one line each:
 * `class.yaml:9:5: warning: the parameter regoin is unknown to aws; did you mean region?`. Empty
 * for a provider that Keyferry does not have.
 */
export async function classWarnings(spc: SecretProviderClass): Promise<readonly string[]> {
  const entry = Object.hasOwn(providers, spc.provider) ? providers[spc.provider] : undefined;
  if (entry === undefined) return [];
  const plan = await entry.plan();
  const { problems } = runSteps(plan(withoutDriverKeys(spc.parameters)));
  return problems
    .filter(({ severity }) => severity !== 'error')
    .map(({ severity, message, hint, parameter, line, column }) => {
      const place = spc.locationOf(parameter, line, column);
      const remedy = hint === undefined ? '' : `; ${hint}`;
      const file = sanitizeUserText(place.file);
      return `${file}:${place.line}:${place.column}: ${severity}: ${message}${remedy}`;
    });
}
