import { type ComposeModel, type JsonObject, listOf, objectOf } from '../model/compose-model.ts';
import { servicesOf } from '../model/service.ts';
import type { Part } from './flags.ts';

/** Which services a command of Compose creates. */
export type SelectionInput = {
  readonly model: ComposeModel;
  /** The active profiles. */
  readonly profiles: readonly string[];
  /** The services that the command names. */
  readonly names: readonly string[];
  readonly noDeps: boolean;
};

/** The words of a command's line that can be names of services. */
export function namedServices(command: string, parts: readonly Part[]): readonly string[] {
  const words = parts.flatMap(({ flag, words: [word = ''] }) => (flag === undefined ? [word] : []));
  // `scale app=3`
  if (command === 'scale') return words.map((word) => word.split('=')[0] ?? '');
  return words;
}

/**
 * The services that a command creates: those that it names or, if it names none, those of the
 * active profiles; and what they depend on.
 */
export function selectServices(input: SelectionInput): ReadonlySet<string> {
  const { model, profiles, names, noDeps } = input;
  const definitions = new Map(
    servicesOf(model).map(({ service, definition }) => [service, definition]),
  );
  const isActive = ({ profiles: own }: JsonObject): boolean =>
    listOf(own).length === 0 ||
    profiles.includes('*') ||
    profiles.some((profile) => listOf(own).includes(profile));
  const roots = names.filter((name) => definitions.has(name));
  const queue =
    names.length > 0
      ? roots
      : [...definitions].flatMap(([name, definition]) => (isActive(definition) ? [name] : []));
  const selected = new Set<string>();
  for (const name of queue) {
    const definition = definitions.get(name);
    if (selected.has(name) || definition === undefined) continue;
    selected.add(name);
    if (!noDeps) queue.push(...dependenciesOf(definition));
  }
  return selected;
}

function dependenciesOf(definition: JsonObject): readonly string[] {
  const texts = (key: string): readonly string[] =>
    listOf(definition[key]).filter((item) => typeof item === 'string');
  const shared = ['network_mode', 'ipc', 'pid'].flatMap((key) => {
    const value = definition[key];
    return typeof value === 'string' && value.startsWith('service:') ? [value.slice(8)] : [];
  });
  const first = (text: string): string => text.split(':')[0] ?? '';
  return [
    ...Object.keys(objectOf(definition.depends_on)),
    ...[...texts('links'), ...texts('volumes_from')].map(first),
    ...shared,
  ];
}
