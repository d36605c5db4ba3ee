import { sanitizeUserText } from '../../core/safe-text.ts';
import { type JsonValue, toJsonText } from '../../formats/json.ts';
import { keyPath } from '../problem.ts';
import { type ComposeModel, type JsonObject, isObject, listOf, objectOf } from './compose-model.ts';
import { findMisplaced, isExtension } from './misplaced.ts';
import { reporterOf } from './service.ts';
import type { Injection, ServiceInModel, Report, ReportInService } from './types.ts';
import {
  type VolumeSource,
  filesDirectory,
  foreignSecrets,
  mountBelow,
  projectPattern,
  secretsDirectory,
  servicePattern,
  volumeNames,
  addedVolumes,
} from './volumes.ts';

/** Of one application. Each has a volume in the engine. */
export const maxServices = 1_000;

/** Compose has the same rules. Other names would make other volumes. */
export function checkProject({ name, services }: ComposeModel, report: Report): void {
  const problem = { severity: 'error', code: 'CANNOT_INJECT' } as const;
  if (!isObject(services))
    report({
      ...problem,
      message: 'this is not the model of a Compose application: it has no services',
      hint: 'run docker compose config to see what is wrong',
      where: 'services',
    });
  else if (typeof name !== 'string' || !projectPattern.test(name))
    report({
      ...problem,
      message: 'the name of the project is not valid',
      hint: 'use at most 100 lower-case letters, digits, "-" and "_": docker dso -p NAME',
      where: 'name',
    });
}

/** What stands in the way of the injection. */
export function checkService(
  { service, definition }: ServiceInModel,
  { files }: Injection,
  report: ReportInService,
): void {
  const name = sanitizeUserText(service);
  const directories = files.length === 0 ? [secretsDirectory] : [secretsDirectory, filesDirectory];
  for (const directory of directories) {
    const mount = mountBelow(definition, directory);
    if (mount !== undefined)
      report(
        ...(['error', 'CANNOT_INJECT', [mount]] as const),
        `service ${name} already mounts something at ${directory}, where its secrets are`,
        'mount it elsewhere',
      );
  }
  if (!servicePattern.test(service))
    report(
      ...(['error', 'CANNOT_INJECT', []] as const),
      `service ${name} needs a name of at most 100 letters, digits, ".", "_" and "-"`,
      'give it another name',
    );
  if (definition.provider !== undefined)
    report(
      ...(['error', 'CANNOT_INJECT', ['provider']] as const),
      `service ${name} is made by a provider of Compose, and has no container for secrets`,
      'remove the references from its environment',
    );
  if (typeof definition.platform === 'string' && definition.platform.startsWith('windows'))
    reportWindows(name, 'platform', report);
}

/** @param key what says that the image is for Windows */
export function reportWindows(service: string, key: string, report: ReportInService): void {
  report(
    ...(['error', 'CANNOT_INJECT', [key]] as const),
    `service ${service} runs a Windows image, in which the shim cannot run`,
    'use a Linux image, or remove the references',
  );
}

/** Checks what concerns more than one service, and the rest of the model. */
export function checkOthers(
  model: ComposeModel,
  services: readonly ServiceInModel[],
  injections: readonly Injection[],
  from: VolumeSource,
  report: Report,
): void {
  const injected = new Set(injections.map(({ service }) => service));
  if (injected.size > maxServices)
    report({
      ...{ severity: 'error', code: 'CANNOT_INJECT', where: 'services' },
      message: `${injected.size} services have secrets; at most ${maxServices} are allowed`,
      hint: 'split the application into several projects',
    });
  for (const [key, part] of Object.entries(model))
    if (key !== 'services' && !isExtension(key)) findMisplaced({ [key]: part }, [], report);
  const definitions = objectOf(model.volumes);
  for (const [name, definition] of addedVolumes(injections, from))
    if (Object.hasOwn(definitions, name) && !isEqual(definitions[name], definition))
      report({
        ...{ severity: 'error', code: 'CANNOT_INJECT', where: keyPath(['volumes', name]) },
        message: `the volume ${sanitizeUserText(name)} has the name of one that holds secrets`,
        hint: 'give it another name',
      });
  for (const service of services) {
    const inService = reporterOf(service, report);
    const name = sanitizeUserText(service.service);
    const own = volumeNames(service.project, service.service);
    const foreign = foreignSecrets(service.definition, own, definitions, from);
    if (foreign !== undefined)
      inService(
        ...(['error', 'CANNOT_INJECT', ['volumes']] as const),
        `service ${name} mounts ${sanitizeUserText(foreign)}, which holds the secrets of another service`,
        'remove the mount, and write references under its environment',
      );
    for (const [index, source] of listOf(service.definition.volumes_from).entries()) {
      const [from = ''] = typeof source === 'string' ? source.split(':') : [];
      if (injected.has(from))
        inService(
          ...(['error', 'CANNOT_INJECT', ['volumes_from', index]] as const),
          `service ${name} would get the secrets of ${sanitizeUserText(from)} with its volumes`,
          'list the volumes that it needs under volumes',
        );
    }
  }
}

/** A volume of ours from an earlier run comes back as it was. */
function isEqual(a: JsonValue | undefined, b: JsonObject): boolean {
  return a !== undefined && toJsonText(a, { sorted: true }) === toJsonText(b, { sorted: true });
}
