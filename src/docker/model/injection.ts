import { sanitizeUserText } from '../../core/safe-text.ts';
import { checkVariableName } from '../config/secret-name.ts';
import type { DsoConfig, SecretConfig } from '../config/types.ts';
import { type JsonObject, objectOf, plainText } from './compose-model.ts';
import { toFile, checkFiles } from './injected-files.ts';
import { parseReference } from './reference.ts';
import { mappedRequests, refOf, isSecretOf, nameOf } from './request.ts';
import { findRotation } from './rotation.ts';
import type { Injection, SecretRequest, ServiceInModel, ReportInService } from './types.ts';

/** One request caps its objects: see `maxItems` of `readYamlList`. */
export const maxSecrets = 500;

/**
 * Finds what a service asks for: references, bare keys that a mapping of dso.yaml fills, and the
 * mappings of secrets that have the service as a target.
 * @returns undefined if it asks for nothing
 */
export function findInjection(
  { project, service, definition }: ServiceInModel,
  config: DsoConfig,
  report: ReportInService,
): Injection | undefined {
  const secrets = config.secrets.filter((secret) => concerns(secret, service, definition));
  const environment = objectOf(definition.environment);
  const requests = [
    ...Object.entries(environment).flatMap(([name, value]): readonly SecretRequest[] => {
      if (value === null) return findMapping(name, secrets, report);
      return typeof value === 'string' ? readValue(name, value, config, secrets, report) : [];
    }),
    ...findTargeted(environment, secrets, config, report),
  ];
  if (requests.length === 0) return undefined;
  if (requests.length > maxSecrets)
    report(
      ...(['error', 'CANNOT_INJECT', ['environment']] as const),
      `service ${sanitizeUserText(service)} has ${requests.length} secrets; at most ${maxSecrets} are allowed`,
      'split the service, or read one file with all of them',
    );
  const files = requests.flatMap(toFile);
  checkFiles(files, report);
  const variables = requests.flatMap(({ name, ref, inject }) =>
    inject.type === 'env' && name !== undefined ? [{ name, ref }] : [],
  );
  const rotation = findRotation(requests, secrets, config, report);
  const { exec } = config;
  return { project, service, variables, files, exec, ...(rotation && { rotation }) };
}

/** Whether an entry of dso.yaml applies to the service. Without targets it applies to all. */
function concerns({ targets }: SecretConfig, service: string, definition: JsonObject): boolean {
  if (targets === undefined) return true;
  const { container_name: container } = definition;
  const labels = objectOf(definition.labels);
  const isNamed =
    targets.containers.includes(service) ||
    (typeof container === 'string' && targets.containers.includes(plainText(container)));
  const hasLabels = [...targets.labels].every(([key, value]) => {
    const label = Object.hasOwn(labels, key) ? labels[key] : undefined;
    return typeof label === 'string' && plainText(label) === value;
  });
  return isNamed || (targets.labels.size > 0 && hasLabels);
}

function readValue(
  name: string,
  value: string,
  config: DsoConfig,
  secrets: readonly SecretConfig[],
  report: ReportInService,
): readonly SecretRequest[] {
  const parsed = parseReference(plainText(value), config);
  if (parsed === undefined) return [];
  const key = ['environment', name];
  if ('fault' in parsed) {
    report('error', 'INVALID_REFERENCE', key, parsed.fault, parsed.hint);
    return [];
  }
  const nameFault = checkVariableName(name);
  if (nameFault !== undefined) {
    const message = `the variable ${sanitizeUserText(name)} ${nameFault}`;
    report('error', 'INVALID_REFERENCE', key, message, 'give it another name');
    return [];
  }
  if (parsed.kind === 'variable') return [{ name, ref: parsed.ref, inject: { type: 'env' } }];
  const entry = secrets.find((secret) => isSecretOf(parsed.ref, secret));
  const inject = entry?.inject.type === 'file' ? entry.inject : ({ type: 'file' } as const);
  return [{ name, ref: parsed.ref, inject }];
}

/** A bare key: the one mapping that has its name. */
function findMapping(
  name: string,
  secrets: readonly SecretConfig[],
  report: ReportInService,
): readonly SecretRequest[] {
  const found = secrets.flatMap((secret) =>
    mappedRequests(secret).filter((request) => request.name === name),
  );
  const [first, second] = found;
  if (first !== undefined && second !== undefined)
    report(
      ...(['error', 'CANNOT_INJECT', ['environment', name]] as const),
      `two mappings of dso.yaml fill ${sanitizeUserText(name)}: of ${nameOf(first)} and of ${nameOf(second)}`,
      'remove one of them, or give them different targets',
    );
  return found.slice(0, 1);
}

/** The secrets that come without being asked for: the service is their target. */
function findTargeted(
  environment: JsonObject,
  secrets: readonly SecretConfig[],
  config: DsoConfig,
  report: ReportInService,
): readonly SecretRequest[] {
  const given = new Map<string, SecretRequest>();
  for (const secret of secrets.filter(({ targets }) => targets !== undefined))
    for (const request of mappedRequests(secret)) {
      const { name = '' } = request;
      const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
      const other = given.get(name);
      const isReference =
        typeof value === 'string' && parseReference(plainText(value), config) !== undefined;
      if (value === null || isReference) continue;
      if (value !== undefined)
        report(
          ...(['error', 'CANNOT_INJECT', ['environment', name]] as const),
          `${sanitizeUserText(name)} has a value, and dso.yaml fills it with ${nameOf(request)}`,
          'remove the value, or the mapping',
        );
      else if (other !== undefined)
        report(
          ...(['error', 'CANNOT_INJECT', ['environment']] as const),
          `two mappings of dso.yaml fill ${sanitizeUserText(name)}: of ${nameOf(other)} and of ${nameOf(request)}`,
          'remove one of them, or give them different targets',
        );
      else given.set(name, request);
    }
  const whole = secrets.filter(
    ({ targets, inject, mappings }) =>
      targets !== undefined && inject.type === 'file' && mappings.size === 0,
  );
  return [
    ...given.values(),
    ...whole.map((secret) => ({ ref: refOf(secret), inject: secret.inject })),
  ];
}
