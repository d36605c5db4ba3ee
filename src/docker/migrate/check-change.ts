import { isDeepStrictEqual } from 'node:util';
import {
  type ComposeModel,
  type JsonObject,
  listOf,
  modelText,
  objectOf,
} from '../model/compose-model.ts';
import { servicesOf } from '../model/service.ts';
import { keyPath } from '../problem.ts';
import type { ServiceSecret } from './find-values.ts';

/**
 * Compares what Compose makes of the files before and after a change: nothing may differ but what
 * the plan says.
 * @param references by `SERVICE NAME`
 * @param mounts the secrets of Compose that have moved
 * @returns the key that differs; undefined if all is right
 */
export function findDifference(
  before: ComposeModel,
  after: ComposeModel,
  references: ReadonlyMap<string, string>,
  mounts: readonly ServiceSecret[],
): string | undefined {
  const then = new Map(servicesOf(after).map(({ service, definition }) => [service, definition]));
  for (const { service, definition } of servicesOf(before)) {
    const now = then.get(service);
    if (now === undefined) return keyPath(['services', service]);
    const environment = objectOf(now.environment);
    const expected = Object.entries(objectOf(definition.environment)).map(
      ([name, value]): readonly [string, unknown] => {
        const reference = references.get(`${service} ${name}`);
        return [name, reference === undefined ? value : modelText(reference)];
      },
    );
    if (Object.keys(environment).length !== expected.length)
      return keyPath(['services', service, 'environment']);
    for (const [name, value] of expected)
      if (!isDeepStrictEqual(environment[name], value))
        return keyPath(['services', service, 'environment', name]);
    const moved = new Set(
      mounts.filter((mount) => mount.service === service).map(({ source }) => source),
    );
    const isKept = (item: unknown): boolean =>
      listOf(now.secrets).some((each) => isDeepStrictEqual(each, item));
    const lost = listOf(definition.secrets).find((item) => {
      const { source } = objectOf(item);
      return !(typeof source === 'string' && moved.has(source)) && !isKept(item);
    });
    if (lost !== undefined) return keyPath(['services', service, 'secrets']);
    const key = firstDifference(definition, now, ['environment', 'secrets']);
    if (key !== undefined) return keyPath(['services', service, key]);
  }
  const extensions = Object.keys(before).filter((key) => key.startsWith('x-'));
  const key = firstDifference(before, after, ['services', 'secrets', ...extensions]);
  return key === undefined ? undefined : keyPath([key]);
}

function firstDifference(
  before: JsonObject,
  after: JsonObject,
  except: readonly string[],
): string | undefined {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].find(
    (key) => !except.includes(key) && !isDeepStrictEqual(before[key], after[key]),
  );
}
