import { sanitizeUserText } from '../../core/safe-text.ts';
import type { DsoConfig, Rotation, SecretConfig } from '../config/types.ts';
import { isSecretOf } from './request.ts';
import type { SecretRequest, ReportInService } from './types.ts';

/** The one rotation of the service: what its secrets say or, if they say nothing, the default. */
export function findRotation(
  requests: readonly SecretRequest[],
  secrets: readonly SecretConfig[],
  { defaults }: DsoConfig,
  report: ReportInService,
): Rotation | undefined {
  const used = secrets.filter(
    (secret) =>
      secret.rotation !== undefined && requests.some(({ ref }) => isSecretOf(ref, secret)),
  );
  const [first] = used;
  const other = used.find(({ rotation }) => !isSame(rotation, first?.rotation));
  if (first !== undefined && other !== undefined)
    report(
      ...(['error', 'CANNOT_INJECT', ['environment']] as const),
      `dso.yaml has different rotations for two secrets of the service: ${sanitizeUserText(first.name)} and ${sanitizeUserText(other.name)}`,
      'give both the same rotation, or put them into two services',
    );
  return first?.rotation ?? defaults.rotation;
}

function isSame(a: Rotation | undefined, b: Rotation | undefined): boolean {
  const parts = (rotation: Rotation | undefined): string =>
    JSON.stringify([rotation?.enabled, rotation?.strategy, rotation?.signal, rotation?.graceMs]);
  return parts(a) === parts(b);
}
