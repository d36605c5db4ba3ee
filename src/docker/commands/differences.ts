import { type Container, findContainers } from '../compose/containers.ts';
import { toEngineError } from '../compose/images.ts';
import { printable } from '../compose/model.ts';
import { selectServices } from '../compose/selection.ts';
import { type ComposeModel, objectOf } from '../model/compose-model.ts';
import { composeLabels } from '../model/labels.ts';
import { imagesNeeded, rewriteWithoutImages } from '../model/rewrite.ts';
import { referencesLabel } from '../model/volumes.ts';
import type { DsoProblem } from '../problem.ts';
import { checkStores, loadApplication, withHostStores } from './application.ts';
import type { CommandContext } from './context.ts';
import { locate } from './problems.ts';
import { unknownService } from './services.ts';
import { type ServiceDifference, compareService } from './service-difference.ts';

/** What {@link findDifferences} finds. */
export type Differences = {
  readonly project: string;
  /** Of the Compose files and dso.yaml. */
  readonly problems: readonly DsoProblem[];
  /** What Compose says is wrong with them. */
  readonly errors: string;
  /** Services with a difference, in the order of their names. Absent after an error. */
  readonly services?: readonly ServiceDifference[];
};

/**
 * Compares the secrets of the Compose files with those of the containers. Changes nothing.
 * @param names the services that `up` would get
 * @throws SecretError
 */
export async function findDifferences(
  context: CommandContext,
  names: readonly string[],
): Promise<Differences> {
  const { agent, cwd } = context;
  const { project, composed, dsoYaml } = await loadApplication(context);
  const { model } = composed;
  if (model === undefined) return { project: '', problems: [], errors: printable(composed.errors) };
  checkNames(names, Object.keys(objectOf(model.services)));
  const name = typeof model.name === 'string' ? model.name : '';
  const ended = { project: name, errors: '' };
  const { config: own } = dsoYaml.result;
  if (own === undefined) return { ...ended, problems: dsoYaml.result.problems };
  const containers = await containersOf(context, name);
  const needsAgent =
    imagesNeeded(model, own).length > 0 || containers.some(({ references }) => references !== '');
  if (!needsAgent) {
    const offline = rewriteWithoutImages({ model, config: own });
    const ofFiles = await locate(offline.problems, project.files, cwd);
    const problems = [...dsoYaml.result.problems, ...ofFiles];
    return { ...ended, problems, ...(offline.model && { services: [] }) };
  }

  const info = await agent.info();
  const { config, problems: ofDsoYaml } = await withHostStores(dsoYaml, info);
  if (config === undefined) return { ...ended, problems: ofDsoYaml };
  const ofStores = own.providers.size > 0 ? await checkStores(own, dsoYaml, cwd, info) : [];
  const result = rewriteWithoutImages({ model, config, volumes: await agent.volumes() });
  const ofModel = await locate(result.problems, project.files, cwd);
  const problems = [...ofDsoYaml, ...ofStores, ...ofModel];
  if (result.model === undefined) return { ...ended, problems };

  const statuses = await agent.services(name);
  const selected = selectServices({ model, profiles: project.profiles, names, noDeps: false });
  const rewritten = objectOf(result.model.services);
  const services = [...selected].sort().flatMap((service) => {
    const isOfService = (each: { readonly service: string }): boolean => each.service === service;
    const difference = compareService({
      service,
      injection: result.services.find(isOfService),
      references: referencesOf(rewritten, service),
      containers: containers.filter(isOfService),
      status: statuses.find(isOfService),
    });
    return difference ?? [];
  });
  return { ...ended, problems, services };
}

/** @throws SecretError INVALID_REQUEST */
function checkNames(names: readonly string[], services: readonly string[]): void {
  const unknown = names.find((name) => !services.includes(name));
  if (unknown !== undefined) throw unknownService(unknown, services);
}

/** Also those that do not run: `up` starts them. */
async function containersOf(
  { docker }: CommandContext,
  project: string,
): Promise<readonly Container[]> {
  const labels = [`${composeLabels.project}=${project}`, `${composeLabels.oneOff}=False`];
  const found = await findContainers(docker, labels, { all: true });
  if ('errors' in found) throw toEngineError(found.errors);
  return found.containers;
}

/** The digest of the references in the model that Compose gets; empty without secrets. */
function referencesOf(services: ComposeModel, service: string): string {
  const digest = objectOf(objectOf(services[service]).labels)[referencesLabel];
  return typeof digest === 'string' ? digest : '';
}
