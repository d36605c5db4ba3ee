import { sanitizeUserText } from '../../core/safe-text.ts';
import { servicesOf } from '../model/service.ts';
import {
  type FileEdit,
  buildSecrets,
  removeDefinitions,
  unmountSecrets,
} from './compose-secrets.ts';
import { type Application, type FoundValue, type Left, type ServiceSecret } from './find-values.ts';
import { interpolated, isStillUsed, removeVariables } from './interpolation.ts';
import { findLeftovers } from './leftovers.ts';
import { type NewSecret, type Target, nameSecrets, referenceTo } from './name-secrets.ts';
import { hasSecretName } from './secret-names.ts';
import type { SourceFile } from './source-file.ts';
import { type Edit, applyEdits, orderEdits } from './text-edits.ts';

/** What {@link makePlan} reads. */
export type PlanInput = {
  readonly application: Application;
  readonly found: readonly FoundValue[];
  /** The secrets of Compose whose variables are in `found`. */
  readonly mounts: readonly ServiceSecret[];
  /** Those that stay. */
  readonly otherMounts: readonly ServiceSecret[];
  /** The env files that Compose interpolates from. */
  readonly dotEnv: readonly SourceFile[];
  /** Edits that do not depend on values. */
  readonly otherEdits: readonly FileEdit[];
  /** Variables that are secrets, whatever their names. */
  readonly variables: ReadonlySet<string>;
  readonly target: Target;
};

/** A file, and how it changes. */
export type ChangedFile = { readonly file: SourceFile; readonly edits: readonly Edit[] };

/** What a migration does. */
export type Plan = {
  readonly secrets: readonly NewSecret[];
  readonly files: readonly ChangedFile[];
  readonly left: readonly Left[];
  /** What each service has in its variables afterwards, by `SERVICE NAME`. */
  readonly references: ReadonlyMap<string, string>;
};

/** Says what changes in which file. Pure. */
export function makePlan(input: PlanInput): Plan {
  const { application, dotEnv, target, mounts } = input;
  const { layers } = application;
  const { found, left } = withoutSharedLines(input);
  const secrets = nameSecrets(found, target);
  const references = new Map<string, string>();
  const edits: FileEdit[] = [...input.otherEdits];
  for (const secret of secrets)
    for (const { service, name, kind, place } of secret.uses) {
      const reference = referenceTo(secret, kind, target);
      references.set(`${service} ${name}`, reference);
      edits.push(...place.edits(reference).map((edit) => ({ file: place.file, edit })));
    }
  const services = new Set(mounts.map(({ service }) => service));
  for (const service of services) {
    const own = mounts.filter((mount) => mount.service === service);
    edits.push(...unmountSecrets(layers, service, new Set(own.map(({ source }) => source))));
  }
  const kept = new Set([
    ...input.otherMounts.map(({ source }) => source),
    ...servicesOf(application.model).flatMap(buildSecrets),
  ]);
  const unused = mounts.filter(({ source }) => !kept.has(source));
  edits.push(...removeDefinitions(layers, new Set(unused.map(({ source }) => source))));

  const files = group(edits);
  const compose = [...layers.byPath.values()].flatMap(([layer]) => (layer ? [layer.file] : []));
  const texts = compose.map((file) => textAfter(file, files));
  const usage = { texts, model: application.model, moved: new Set(references.keys()) };
  const unusedNames = namesToRemove(input, found, unused).filter(
    (name) => !isStillUsed(name, usage),
  );
  for (const file of dotEnv) {
    const lines = removeVariables(file.text, new Set(unusedNames));
    const own = files.get(file.path)?.edits ?? [];
    const overlaps = (line: Edit): boolean =>
      own.some(({ start, end }) => start < line.end && end > line.start);
    const removed = lines.filter((line) => !overlaps(line));
    if (removed.length === 0) continue;
    if (file.fault !== undefined)
      left.push({
        what: sanitizeUserText(file.name),
        reason: `it still has ${unusedNames.map(sanitizeUserText).join(', ')}, and ${file.fault}`,
      });
    else files.set(file.path, { file, edits: orderEdits([...own, ...removed]) });
  }
  const all = [...compose, ...dotEnv, ...application.envFiles.values()];
  left.push(
    ...findLeftovers(
      application.model,
      secrets,
      all.map((file) => ({ name: file.name, text: textAfter(file, files) })),
    ),
  );
  // A process that is killed on the way has changed Compose files, which work, and then the others.
  const ordered = [...files.values()].sort((a, b) => order(a.file) - order(b.file));
  return { secrets, files: ordered, left, references };
}

function order({ kind }: SourceFile): number {
  return kind === 'env' ? 1 : 0;
}

/**
 * A line of an env file that other lines or a Compose file interpolate cannot become a reference.
 */
function withoutSharedLines({ found, dotEnv, application }: PlanInput): {
  readonly found: readonly FoundValue[];
  readonly left: Left[];
} {
  const paths = new Set(dotEnv.map(({ path }) => path));
  const isInYaml = ({ place }: FoundValue): boolean => place.file.kind !== 'env';
  const placeholder = group(
    found
      .filter(isInYaml)
      .flatMap(({ place }) => place.edits('dso://x').map((edit) => ({ file: place.file, edit }))),
  );
  const texts = [...application.layers.byPath.values()].flatMap(([layer]) =>
    layer === undefined ? [] : [textAfter(layer.file, placeholder)],
  );
  const used = new Set(texts.flatMap(interpolated));
  const isShared = (value: FoundValue): boolean => {
    if (isInYaml(value)) return false;
    const { path, text } = value.place.file;
    const isInterpolated = paths.has(path) && used.has(value.name);
    return isInterpolated || interpolated(text).includes(value.name);
  };
  const left = found.filter(isShared).map(({ service, name, place }) => ({
    what: `${sanitizeUserText(name)} of service ${sanitizeUserText(service)}`,
    reason: `its line of ${sanitizeUserText(place.file.name)} is also a part of other values; write the reference under environment by hand`,
  }));
  return { found: found.filter((value) => !isShared(value)), left };
}

/** Variables of env files whose values have moved. */
function namesToRemove(
  { variables }: PlanInput,
  found: readonly FoundValue[],
  unused: readonly ServiceSecret[],
): readonly string[] {
  const ofValues = found.flatMap(({ name, key, place }) => {
    if (place.file.kind === 'env') return [];
    if (place.isBare) return [name];
    return interpolated(place.raw ?? '').filter(
      (each) => each === key || variables.has(each) || hasSecretName(each),
    );
  });
  const ofSecrets = unused.flatMap(({ from }) =>
    from.from === 'environment' ? [from.variable] : [],
  );
  return [...new Set([...ofValues, ...ofSecrets])];
}

function group(edits: readonly FileEdit[]): Map<string, ChangedFile> {
  const groups = new Map<string, { readonly file: SourceFile; readonly edits: Edit[] }>();
  for (const { file, edit } of edits) {
    const present = groups.get(file.path);
    if (present === undefined) groups.set(file.path, { file, edits: [edit] });
    else present.edits.push(edit);
  }
  return new Map(
    Array.from(groups, ([path, { file, edits: own }]) => [path, { file, edits: orderEdits(own) }]),
  );
}

function textAfter(file: SourceFile, files: ReadonlyMap<string, ChangedFile>): string {
  return applyEdits(file.text, files.get(file.path)?.edits ?? []);
}
