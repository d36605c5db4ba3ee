import {
  type ComposeModel,
  type ImageFacts,
  type JsonObject,
  imageOf,
  objectOf,
} from '../model/compose-model.ts';
import { servicesOf } from '../model/service.ts';
import type { ServiceInModel } from '../model/types.ts';
import { type Part, isOn, valuesOf } from './flags.ts';
import { inspectImages } from './images.ts';
import { type LoadedProject, runOnModel } from './run-model.ts';

/** What {@link prepareImages} reads. */
export type ImagesInput = LoadedProject & {
  readonly model: ComposeModel;
  /** The images whose facts are needed. */
  readonly names: readonly string[];
  /** The services that the command creates. */
  readonly selected: ReadonlySet<string>;
  /** The flags of the command. */
  readonly parts: readonly Part[];
  /** Whether the command builds what can be built, without a flag that says so. */
  readonly buildsFirst: boolean;
  readonly isDryRun: boolean;
};

/** What {@link prepareImages} returns. */
export type PreparedImages = {
  readonly images: Readonly<Record<string, ImageFacts>>;
  /** The model in which Compose does not pull and build again what is prepared. */
  readonly model: ComposeModel;
  /** The flags of the command, without those that the model says now. */
  readonly parts: readonly Part[];
};

/** For services that the command does not create, and whose images are not there. */
const unknownImage: ImageFacts = { cmd: ['its-image-was-not-there'] };

/**
 * Pulls and builds the images of services with secrets, when Compose would do so, since the command
 * of an image must be known before Compose starts. Other services are left to Compose.
 * @returns the exit code of a pull or a build that failed
 */
export async function prepareImages(
  input: ImagesInput,
): Promise<PreparedImages | { readonly code: number }> {
  const { docker, model, names, selected, parts, isDryRun } = input;
  const concerned = servicesOf(model).filter((service) => names.includes(nameOf(service)));
  const steps = concerned
    .filter(({ service }) => selected.has(service))
    .map((service) => ({ service, ...policyOf(service.definition, input) }));
  const images = { ...(await inspectImages(docker, names)) };
  const isMissing = ({ service }: { readonly service: ServiceInModel }): boolean =>
    !Object.hasOwn(images, nameOf(service));

  const pulled = steps.filter((step) => step.pulls || (step.mayPull && isMissing(step)));
  const quiet = (flag: string): readonly string[] => (isOn(parts, flag) ? ['--quiet'] : []);
  for (const buildable of [false, true]) {
    const services = pulled.filter((step) => step.canBuild === buildable);
    // What cannot be pulled is built.
    const lenient = buildable ? ['--ignore-pull-failures'] : [];
    const words = ['pull', ...quiet('quiet-pull'), ...lenient];
    const code = isDryRun ? 0 : await runFor(input, words, services);
    if (code !== 0 && !buildable) return { code };
  }
  if (!isDryRun) Object.assign(images, await inspectImages(docker, namesOf(pulled)));

  const built = steps.filter((step) => step.builds || (step.mayBuild && isMissing(step)));
  if (!isDryRun) {
    const code = await runFor(input, ['build', ...quiet('quiet-build')], built);
    if (code !== 0) return { code };
    Object.assign(images, await inspectImages(docker, namesOf(built)));
  }

  for (const { service, definition, project } of concerned) {
    const name = imageOf(project, service, definition);
    const isUsed = selected.has(service) && !isDryRun;
    if (!isUsed && !Object.hasOwn(images, name)) images[name] = unknownImage;
  }
  const done = new Set([...pulled, ...built].map(({ service }) => service.service));
  return {
    ...{ images, model: applyPolicy(input, isDryRun ? new Set() : done) },
    parts: parts.filter(({ flag }) => flag !== 'pull' && flag !== 'build'),
  };
}

function nameOf({ project, service, definition }: ServiceInModel): string {
  return imageOf(project, service, definition);
}

function namesOf(steps: readonly { readonly service: ServiceInModel }[]): readonly string[] {
  return [...new Set(steps.map(({ service }) => nameOf(service)))];
}

async function runFor(
  input: ImagesInput,
  words: readonly string[],
  steps: readonly { readonly service: ServiceInModel }[],
): Promise<number> {
  if (steps.length === 0) return 0;
  return runOnModel(input, input.model, [...words, ...steps.map(({ service }) => service.service)]);
}

/** https://docs.docker.com/reference/compose-file/services/#pull_policy */
function policyOf({ image, build, pull_policy: own }: JsonObject, input: ImagesInput) {
  const policy = pullFlag(input.parts) ?? (typeof own === 'string' ? own : '');
  const canBuild = build != null;
  const canPull = typeof image === 'string';
  const builds =
    canBuild && (policy === 'build' || input.buildsFirst || isOn(input.parts, 'build'));
  return {
    ...{ canBuild, builds },
    /** Also if it is there. `daily` and the like pull an image that is old. */
    pulls: canPull && !builds && /^(always|refresh|daily|weekly|every_)/.test(policy),
    mayPull: canPull && !builds && policy !== 'never' && policy !== 'build',
    mayBuild: canBuild && !isOn(input.parts, 'no-build'),
  };
}

/** `--pull`; undefined if it does not say. */
function pullFlag(parts: readonly Part[]): string | undefined {
  const value = valuesOf(parts, 'pull').at(-1);
  return value === 'policy' ? undefined : value;
}

/** The model with `--pull` and `--build` as the policies of its services. */
function applyPolicy({ model, parts }: ImagesInput, done: ReadonlySet<string>): ComposeModel {
  const pull = pullFlag(parts);
  const builds = isOn(parts, 'build');
  if (pull === undefined && !builds && done.size === 0) return model;
  const services = Object.entries(objectOf(model.services)).map(([name, service]) => {
    const { pull_policy: own, ...definition } = objectOf(service);
    if (done.has(name)) return [name, definition] as const;
    const policy = builds && definition.build != null ? 'build' : (pull ?? own);
    return [name, { ...definition, ...(policy !== undefined && { pull_policy: policy }) }] as const;
  });
  return { ...model, services: Object.fromEntries(services) };
}
