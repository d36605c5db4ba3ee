import type { YamlMap } from '../plan/yaml-list.ts';
import type { Refuse, Text } from './file-names.ts';

/** A scalar that has to say something; what is missing is reported. */
export function required(map: YamlMap, key: string, hint: string, refuse: Refuse): Text | undefined {
  const scalar = map.scalar(key);
  // One of the wrong shape has been reported as such.
  const isMissing = scalar === undefined ? !map.has(key) : scalar.text === '';
  if (isMissing) refuse(map.position, `${map.where} has no ${key}`, hint);
  return isMissing ? undefined : pick(scalar);
}

/** A scalar that says something: an empty one is as good as none, as it is for the vendors' providers. */
export function filled(map: YamlMap, key: string): Text | undefined {
  const scalar = map.scalar(key);
  return scalar?.text === '' ? undefined : pick(scalar);
}

function pick(scalar: Text | undefined): Text | undefined {
  return scalar && { text: scalar.text, line: scalar.line, column: scalar.column };
}
