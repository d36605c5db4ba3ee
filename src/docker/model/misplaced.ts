import type { JsonValue } from '../../formats/json.ts';
import { type DsoProblem, keyPath } from '../problem.ts';
import { type JsonObject, isObject, listOf } from './compose-model.ts';
import { mentionsReference } from './reference.ts';
import type { ServiceInModel, Report } from './types.ts';

type Path = readonly (string | number)[];

const visible = 'docker inspect shows it';
const useVariable = 'write the reference under environment, and use the variable';

/** Why a reference cannot stand in a key of a service, and the remedy. */
const reasons: Readonly<Record<string, readonly [cause: string, hint: string]>> = {
  build: [
    'what a build takes stays in the image and its history',
    'use a build secret: secrets of build',
  ],
  labels: [visible, useVariable],
  command: [visible, useVariable],
  entrypoint: [visible, useVariable],
  healthcheck: [visible, useVariable],
  environment: ['the name of a variable cannot be a secret', 'write NAME: dso://path'],
};
const otherReason = [
  'only a value under environment of a service can be a reference',
  useVariable,
] as const;

/** Reports each reference below a part of the model, in values and in keys. */
export function findMisplaced(
  part: JsonValue | undefined,
  path: Path,
  report: (problem: DsoProblem) => void,
): void {
  if (typeof part === 'string') {
    if (mentionsReference(part)) report(misplacedProblem(path));
  } else if (isObject(part)) {
    for (const [key, value] of Object.entries(part)) {
      const inner = [...path, key];
      if (mentionsReference(key)) report(misplacedProblem(inner));
      findMisplaced(value, inner, report);
    }
  } else
    for (const [index, item] of listOf(part).entries())
      findMisplaced(item, [...path, index], report);
}

/** Whether a reference stands anywhere below a part of the model. */
export function hasReference(part: JsonValue | undefined): boolean {
  let found = false;
  findMisplaced(part, [], () => (found = true));
  return found;
}

function misplacedProblem(path: Path): DsoProblem {
  const key = path[0] === 'services' ? String(path[2]) : '';
  const [cause, hint] = Object.hasOwn(reasons, key) ? (reasons[key] ?? otherReason) : otherReason;
  const where = keyPath(path);
  const message = `${where} has a reference: ${cause}`;
  return { severity: 'error', code: 'MISPLACED_REFERENCE', message, hint, where };
}

/** Reports references in the service that are not values of its environment. */
export function reportMisplaced({ service, definition }: ServiceInModel, report: Report): void {
  for (const [key, value] of Object.entries(definition)) {
    if (isExtension(key)) continue;
    const path = ['services', service, key];
    if (key !== 'environment' || !isObject(value)) {
      findMisplaced(value, path, report);
      continue;
    }
    for (const [name, text] of Object.entries(value)) {
      findMisplaced({ [name]: null }, path, report);
      // A text has been read as a reference.
      if (typeof text !== 'string') findMisplaced(text, [...path, name], report);
    }
  }
}

/** Extensions at the top and in services hold anchors. Compose does nothing with them. */
export function isExtension(key: string): boolean {
  return key.startsWith('x-');
}

/** Without extensions that mention references. The same object if no extension does. */
export function withoutExtensions(part: JsonObject): JsonObject {
  const removed = Object.entries(part).filter(
    ([key, value]) => isExtension(key) && hasReference({ [key]: value }),
  );
  if (removed.length === 0) return part;
  const keys = new Set(removed.map(([key]) => key));
  return Object.fromEntries(Object.entries(part).filter(([key]) => !keys.has(key)));
}
