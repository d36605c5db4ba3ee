import { sanitizeUserText } from '../../core/safe-text.ts';
import type { DsoConfig, Rotation, SecretConfig } from '../config/types.ts';
import { isSecretOf } from './request.ts';
import { type ImageFacts, listOf, objectOf, plainText } from './compose-model.ts';
import type { Injection, ReportInService, SecretRequest, ServiceInModel } from './types.ts';

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

/** What stands in the way of the rotation. */
export function checkRotation(
  service: ServiceInModel,
  others: readonly ServiceInModel[],
  { variables, rotation }: Injection,
  image: ImageFacts | undefined,
  report: ReportInService,
): void {
  if (rotation?.enabled !== true) return;
  const name = sanitizeUserText(service.service);
  if (rotation.strategy === 'signal' && variables.length > 0)
    report(
      ...(['error', 'CANNOT_INJECT', ['environment']] as const),
      `service ${name} is sent a signal when a secret changes, but a running program keeps its variables`,
      'use dsofile:// for its secrets, or the strategy restart',
    );
  if (rotation.strategy !== 'rolling') return;
  const obstacle = rollingObstacle(service, others, image);
  if (obstacle !== undefined)
    report(
      ...(['error', 'CANNOT_INJECT', [obstacle.key]] as const),
      `service ${name} cannot have the strategy rolling, which runs a second container for a while: ${obstacle.reason}`,
      'use the strategy restart for it',
    );
}

/** Why two containers of a service cannot run at once. */
function rollingObstacle(
  { service, definition }: ServiceInModel,
  others: readonly ServiceInModel[],
  image: ImageFacts | undefined,
): { readonly key: string; readonly reason: string } | undefined {
  const { ports, container_name, network_mode, mac_address, networks } = definition;
  if (listOf(ports).length > 0) return { key: 'ports', reason: 'it publishes a port of the host' };
  if (container_name !== undefined)
    return { key: 'container_name', reason: 'it has a name of its own' };
  if (typeof network_mode === 'string' && /^(host$|service:|container:)/.test(network_mode))
    return { key: 'network_mode', reason: `it uses ${sanitizeUserText(network_mode)}` };
  const fixed = Object.values(objectOf(networks))
    .map(objectOf)
    .some((network) => network.ipv4_address ?? network.ipv6_address ?? network.mac_address);
  if (mac_address !== undefined || fixed)
    return { key: 'networks', reason: 'it has a fixed address' };
  const writable = listOf(definition.volumes)
    .map(objectOf)
    .find(({ type, read_only }) => (type === 'volume' || type === 'bind') && read_only !== true);
  if (writable !== undefined) {
    const target = typeof writable.target === 'string' ? plainText(writable.target) : '';
    return { key: 'volumes', reason: `it can write to ${sanitizeUserText(target)}` };
  }
  const [own] = image?.volumes ?? [];
  if (own !== undefined)
    return { key: 'image', reason: `its image keeps data in ${sanitizeUserText(own)}` };
  const user = others.find((other) => other.definition.network_mode === `service:${service}`);
  return (
    user && {
      key: 'network_mode',
      reason: `service ${sanitizeUserText(user.service)} uses its network`,
    }
  );
}
