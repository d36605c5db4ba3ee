import { sanitizeUserText } from '../../core/safe-text.ts';
import { suggestName } from '../../formats/suggest.ts';
import { type YamlEntry, type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import { isYamlNull, yamlToPlain } from '../../formats/yaml-values.ts';

/** Reports an error at a node, or at the beginning of the class. */
export type ReportNode = (node: YamlNode | undefined, message: string, remedy: string) => void;

/** The fields of a map that the API server knows. Reports the others. */
export class Fields {
  readonly #map: YamlNode;
  readonly #place: string;
  readonly #report: ReportNode;
  readonly #suggested = new Set<string>();

  /** @param place the map's name in messages */
  constructor(map: YamlNode, place: string, known: readonly string[], report: ReportNode) {
    this.#map = map;
    this.#place = place;
    this.#report = report;
    for (const { key, value } of entriesOf(map)) {
      if (known.includes(key)) continue;
      const nearest = suggestName(key, known);
      if (nearest !== undefined) this.#suggested.add(nearest);
      report(value, `${place} has no field "${sanitizeUserText(key)}"`, hintOf(nearest, known));
    }
  }

  /** Whether an unknown field was reported that is meant to be this one. */
  isMisspelt(field: string): boolean {
    return this.#suggested.has(field);
  }

  /**
   * A field that must not be empty, without spaces around it: the driver removes them. Reports a
   * value that is missing or not text, unless its name is misspelt. Then the result is empty.
   */
  text(field: string, hint: string): string {
    const node = nodeAt(this.#map, [field]);
    const kind = isEmpty(node) ? undefined : nonTextKind(node);
    if (kind !== undefined) {
      this.#report(node, `${field} of ${this.#place} is ${kind}, and must be text`, quoteHint);
      return '';
    }
    const text = textOf(node).trim();
    if (text === '' && !this.isMisspelt(field))
      this.#report(node ?? this.#map, `${this.#place} has no ${field}`, hint);
    return text;
  }
}

function hintOf(nearest: string | undefined, known: readonly string[]): string {
  return nearest === undefined ? `fields are ${known.join(', ')}` : `did you mean ${nearest}?`;
}

/** The remedy for a value that is not text. */
export const quoteHint = 'put it in quotes';

/** The entries of a map; none for another node. */
export function entriesOf(node: YamlNode | undefined): readonly YamlEntry[] {
  return node?.kind === 'map' ? node.entries : [];
}

/** The items of a list that are maps. Reports another value, and other items. */
export function mapsOf(
  node: YamlNode | undefined,
  place: string,
  report: ReportNode,
): readonly YamlNode[] {
  if (isEmpty(node)) return [];
  if (node?.kind !== 'list') {
    report(node, `${place} must be a list`, 'begin each item with "- "');
    return [];
  }
  return node.items.filter((item) => {
    if (item.kind !== 'map') report(item, `an item of ${place} must be a map`, 'write key: value');
    return item.kind === 'map';
  });
}

/** Whether a node is missing, null, or a text, list or map without content. */
export function isEmpty(node: YamlNode | undefined): boolean {
  if (node?.kind === 'scalar') return isYamlNull(node) || node.text === '';
  return node === undefined || (node.kind === 'list' ? node.items : node.entries).length === 0;
}

/** The text of a node; empty for other values. */
export function textOf(node: YamlNode | undefined): string {
  return node?.kind === 'scalar' && nonTextKind(node) === undefined ? node.text : '';
}

/** What a value is for kubectl, which reads YAML 1.1; undefined for text. */
export function nonTextKind(node: YamlNode | undefined): string | undefined {
  if (node === undefined) return undefined;
  // In YAML 1.1 these words are booleans.
  const isBoolean =
    node.kind === 'scalar' && !node.quoted && /^(y|yes|n|no|on|off)$/i.test(node.text);
  const value = isBoolean ? true : yamlToPlain(node);
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'string') return undefined;
  return typeof value === 'object' ? 'a map' : `a ${typeof value}`;
}
