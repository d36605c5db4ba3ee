import { hash } from 'node:crypto';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { JsonValue } from '../../formats/json.ts';
import type { DsoConfig } from '../config/types.ts';
import { type DsoProblem, limitProblems } from '../problem.ts';
import { checkProject, checkService, reportWindows, checkOthers } from './checks.ts';
import {
  type ComposeModel,
  type ImageFacts,
  type JsonObject,
  imageOf,
  listOf,
  objectOf,
} from './compose-model.ts';
import { findInjection } from './injection.ts';
import { checkRotation } from './rotation.ts';
import { checkRuntime, runtimeName } from './runtime.ts';
import { hasReference, reportMisplaced, isExtension, withoutExtensions } from './misplaced.ts';
import { servicesOf, reporterOf } from './service.ts';
import type { Injection, ServiceInModel, Report, ReportInService } from './types.ts';
import {
  type VolumeSource,
  addedVolumes,
  defaultDriver,
  isInjected,
  mountsOf,
  referencesLabel,
  volumeNames,
} from './volumes.ts';
import { shadowPath, wrapCommand, wrapHealthcheck } from './wrap.ts';

/** What {@link rewrite} reads. */
export type RewriteInput = {
  readonly model: ComposeModel;
  /** By the names that {@link imagesNeeded} returns. */
  readonly images: Readonly<Record<string, ImageFacts>>;
  readonly config: DsoConfig;
  /** Default: the agent as the volume driver `dso`. */
  readonly volumes?: VolumeSource;
};

/** What {@link rewrite} returns. */
export type RewriteResult = {
  /** The model for Compose, without references and values. Absent if a problem is an error. */
  readonly model?: ComposeModel;
  /** What each service receives that receives anything. */
  readonly services: readonly Injection[];
  readonly problems: readonly DsoProblem[];
};

const ofAgent: VolumeSource = { driver: defaultDriver };

/**
 * The images about which {@link rewrite} needs facts: those of the services that receive secrets.
 */
export function imagesNeeded(
  model: ComposeModel,
  config: DsoConfig,
  volumes: VolumeSource = ofAgent,
): readonly string[] {
  const ignore = (): void => undefined;
  const names = servicesOf(model)
    .filter((service) => findSecretsOf(service, config, volumes, ignore) !== undefined)
    .map(({ project, service, definition }) => imageOf(project, service, definition));
  return [...new Set(names)];
}

/** A digest of names and references. It says nothing of the values. */
function digestOf({ variables, files, exec }: Injection): string {
  return hash('sha256', JSON.stringify([variables, files, exec])).slice(0, 16);
}

/**
 * Takes the references out of a Compose application, and lets the shim bring the secrets in. A
 * service without secrets stays the same object. Pure: equal input gives equal output.
 */
export function rewrite(input: RewriteInput): RewriteResult {
  const { model, images, config, volumes = ofAgent } = input;
  const found: DsoProblem[] = [];
  const report: Report = (problem) => void found.push(problem);
  checkProject(model, report);
  const injections: Injection[] = [];
  const changed = new Map<string, JsonObject>();
  const services = servicesOf(model);
  for (const service of services) {
    const inService = reporterOf(service, report);
    const injection = findSecretsOf(service, config, volumes, inService);
    reportMisplaced(service, report);
    if (injection !== undefined) {
      injections.push(injection);
      checkService(service, injection, inService);
      checkRotation(service, services, injection, imageFacts(service, images), inService);
      if (config.runtime === 'on') checkRuntime(service, injection, inService);
      const how = { images, volumes, runtime: config.runtime };
      changed.set(service.service, inject(service, injection, how, inService));
    } else if (Object.keys(service.definition).some(isExtension)) {
      const definition = withoutExtensions(service.definition);
      if (definition !== service.definition) changed.set(service.service, definition);
    }
  }
  checkOthers(model, services, injections, volumes, report);
  const problems = limitProblems(found);
  if (problems.some(({ severity }) => severity === 'error'))
    return { services: injections, problems };
  return {
    model: assemble(model, changed, addedVolumes(injections, volumes)),
    services: injections,
    problems,
  };
}

function imageFacts(
  { project, service, definition }: ServiceInModel,
  images: RewriteInput['images'],
): ImageFacts | undefined {
  const name = imageOf(project, service, definition);
  return Object.hasOwn(images, name) ? images[name] : undefined;
}

/** Images are not looked at, so each is taken to have a command. */
const anyImage: ImageFacts = { cmd: ['any'] };

/**
 * {@link rewrite} for what does not depend on images: the problems of the files, what each service
 * receives, and its labels.
 */
export function rewriteWithoutImages(input: Omit<RewriteInput, 'images'>): RewriteResult {
  const { model, config, volumes } = input;
  const names = imagesNeeded(model, config, volumes);
  const images = Object.fromEntries(names.map((name) => [name, anyImage] as const));
  return rewrite({ ...input, images });
}

/** What the service receives; undefined if nothing, or if it has been rewritten before. */
function findSecretsOf(
  service: ServiceInModel,
  config: DsoConfig,
  volumes: VolumeSource,
  report: ReportInService,
): Injection | undefined {
  const { definition } = service;
  const names = volumeNames(service.project, service.service);
  const isDone = isInjected(definition, names, volumes) && !hasReference(definition.environment);
  return isDone ? undefined : findInjection(service, config, report);
}

type InjectionOptions = {
  readonly volumes: VolumeSource;
  /** `on`: the runtime of the engine does what the shim does otherwise. */
  readonly runtime: 'on' | 'off';
};

/** The service with its secrets. After a problem that is an error, the result is not used. */
function inject(
  { project, service, definition }: ServiceInModel,
  injection: Injection,
  { images, volumes, runtime }: Pick<RewriteInput, 'images'> & InjectionOptions,
  report: ReportInService,
): JsonObject {
  const name = imageOf(project, service, definition);
  const image = imageFacts({ project, service, definition }, images);
  if (image === undefined) {
    const hint =
      definition.build == null ? 'pull it: docker dso pull' : 'build it: docker dso build';
    const message = `the engine has no image ${sanitizeUserText(name)}, whose command is needed`;
    report('error', 'CANNOT_INJECT', ['image'], message, hint);
    return definition;
  }
  if (image.os === 'windows') reportWindows(sanitizeUserText(service), 'image', report);
  const commandLine = runtime === 'on' ? {} : wrapCommand(definition, image);
  if (commandLine === undefined)
    report(
      ...(['error', 'CANNOT_INJECT', ['command']] as const),
      `service ${sanitizeUserText(service)} has no command, and neither has its image`,
      'write command or entrypoint',
    );
  const healthcheck = runtime === 'on' ? undefined : wrapHealthcheck(definition, image);
  const shadows = runtime === 'off' && injection.exec === 'on';
  const names = volumeNames(project, service);
  return {
    ...withoutExtensions(definition),
    labels: { ...objectOf(definition.labels), [referencesLabel]: digestOf(injection) },
    environment: {
      ...ownVariables(definition, injection),
      ...(shadows && { PATH: shadowPath(objectOf(definition.environment).PATH, image) }),
    },
    ...commandLine,
    ...(healthcheck && { healthcheck }),
    ...(runtime === 'on' && { runtime: runtimeName }),
    volumes: [...listOf(definition.volumes), ...mountsOf(injection, names, volumes)],
  };
}

/** The variables of the service that are no secrets. */
function ownVariables(definition: JsonObject, { variables, files }: Injection): JsonObject {
  const injected = new Set([
    ...variables.map(({ name }) => name),
    ...files.flatMap(({ variable = [] }) => variable),
  ]);
  const environment = Object.entries(objectOf(definition.environment));
  return Object.fromEntries(environment.filter(([name]) => !injected.has(name)));
}

function assemble(
  model: ComposeModel,
  changed: ReadonlyMap<string, JsonObject>,
  added: ReturnType<typeof addedVolumes>,
): ComposeModel {
  const services = Object.entries(objectOf(model.services)).map(
    ([name, definition]): [string, JsonValue] => [name, changed.get(name) ?? definition],
  );
  const volumes = { ...objectOf(model.volumes), ...Object.fromEntries(added) };
  return {
    ...withoutExtensions(model),
    services: Object.fromEntries(services),
    ...(added.length > 0 && { volumes }),
  };
}
