import { type ComposeModel, objectOf } from '../model/compose-model.ts';
import { servicesOf } from '../model/service.ts';
import { envEntries } from './env-file.ts';
import { applyEdits, type Edit } from './text-edits.ts';

/** The variables that a text of a Compose file interpolates. */
export function interpolated(text: string): readonly string[] {
  return [...text.matchAll(/(?<!\$)(?:\$\$)*\$\{?([A-Za-z_]\w*)/g)].map(([, name = '']) => name);
}

/** What is asked about the variables of an env file. */
export type Usage = {
  /** Texts of the Compose files after the change. */
  readonly texts: readonly string[];
  readonly model: ComposeModel;
  /** `SERVICE NAME` of variables that are references afterwards. */
  readonly moved: ReadonlySet<string>;
};

/** Whether a Compose file still needs the variable after the change. */
export function isStillUsed(name: string, { texts, model, moved }: Usage): boolean {
  if (texts.some((text) => interpolated(text).includes(name))) return true;
  // A key without a value, or an env file with the variable.
  return servicesOf(model).some(
    ({ service, definition }) =>
      Object.hasOwn(objectOf(definition.environment), name) && !moved.has(`${service} ${name}`),
  );
}

/** What removes the lines of variables from an env file, if its other lines do not use them. */
export function removeVariables(text: string, names: ReadonlySet<string>): readonly Edit[] {
  const entries = envEntries(text).filter(({ name }) => names.has(name));
  const edits = entries.map(({ start, end }) => ({ start, end, text: '' }));
  const rest = new Set(interpolated(applyEdits(text, edits)));
  return edits.filter((_, index) => !rest.has(entries[index]?.name ?? ''));
}
