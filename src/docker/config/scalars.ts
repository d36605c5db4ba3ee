import * as z from 'zod';
import type { YamlNode } from '../../formats/yaml-tree.ts';
import { isYamlNull } from '../../formats/yaml-values.ts';

/**
 * A YAML node as maps, lists and texts. A scalar is its text as written, because YAML parsers
 * disagree on what `on` and `0400` are. Null is undefined: `targets:` says as much as no key.
 */
export function textTree(node: YamlNode | undefined): unknown {
  if (node === undefined) return undefined;
  if (node.kind === 'list') return node.items.map(textTree);
  if (node.kind === 'scalar') return isYamlNull(node) ? undefined : node.text;
  return Object.fromEntries(
    node.entries
      .map(({ key, value }) => [key, textTree(value)] as const)
      .filter(([, value]) => value !== undefined),
  );
}

/** A text that is not empty. */
export const text = z.string('must be a text').min(1, 'must not be empty');

/** `true` or `false`. */
export const truth = z
  .enum(['true', 'false'], 'must be true or false')
  .transform((word) => word === 'true');

/** A user's or a group's number. */
export const id = text.regex(/^\d{1,9}$/, 'must be a number').transform(Number);

/** Permission bits, octal. */
export const fileMode = text
  .regex(/^0?[0-7]{3}$/, 'must be an octal file mode such as "0440"')
  .transform((digits) => Number.parseInt(digits, 8));

/** Milliseconds of `30s`, `2m` or `1m30s`. */
export const duration = text
  .regex(/^(?=\d)(\d{1,5}m)?(\d{1,5}s)?$/, 'must be a time such as 30s or 2m')
  .transform((words) => {
    const [, minutes = '0m', seconds = '0s'] = /^(\d+m)?(\d+s)?$/.exec(words) ?? [];
    return (Number.parseInt(minutes, 10) * 60 + Number.parseInt(seconds, 10)) * 1_000;
  });

/** A map with keys of the user. The library leaves out `__proto__`, so that is refused. */
export function userMap<Value extends z.ZodType>(key: z.ZodType<string, string>, value: Value) {
  return z
    .custom<unknown>(
      (map) => typeof map !== 'object' || map === null || !Object.hasOwn(map, '__proto__'),
      'cannot have the key __proto__',
    )
    .pipe(z.record(key, value, 'must be a map'));
}
