import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Parameters } from '../../core/workload.ts';
import { nearestName } from '../../formats/suggest.ts';
import { type YamlEntry, type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import { type ReportNode, entriesOf, nonTextKind, quoteHint } from './fields.ts';

const specFields = ['provider', 'parameters', 'secretObjects'];

/** The parameters of a class as written, also those that are in a wrong place. */
export type ClassParameters = {
  /**
   * Every scalar as text, so that the provider can find further problems in a class that the API
   * server would reject. Has no prototype.
   */
  readonly values: Parameters;
  readonly nodes: ReadonlyMap<string, YamlNode>;
  /** Parameters with an error of their own, in lower case. */
  readonly reported: ReadonlySet<string>;
  /** `secretObjects`, wherever it is. */
  readonly secretObjects: YamlNode | undefined;
};

/** Reads `spec`. Reports unknown fields, misplaced ones, and parameters that are not text. */
export function readClassParameters(
  spec: YamlNode | undefined,
  report: ReportNode,
): ClassParameters {
  const parameters = nodeAt(spec, ['parameters']);
  const misplaced = checkSpecFields(spec, report);
  const misplacedObjects = nodeAt(parameters, ['secretObjects']);
  if (misplacedObjects !== undefined)
    report(
      misplacedObjects,
      '`secretObjects` is under spec.parameters',
      'it belongs under spec, beside parameters',
    );
  const own = entriesOf(parameters).filter(({ key }) => key !== 'secretObjects');
  const nodes = new Map<string, YamlNode>();
  const values = Object.create(null) as Record<string, string>;
  const reported = new Set(misplaced.map(({ key }) => key.toLowerCase()));
  for (const { key, value } of [...misplaced, ...own]) {
    nodes.set(key, value);
    if (value.kind === 'scalar') values[key] = value.text;
    if (nonTextKind(value) === undefined) continue;
    reported.add(key.toLowerCase());
    // Where it belongs is the first thing to say.
    if (own.some((entry) => entry.value === value)) reportNotText(key, value, report);
  }
  const secretObjects = nodeAt(spec, ['secretObjects']) ?? misplacedObjects;
  return { values, nodes, reported, secretObjects };
}

function reportNotText(key: string, value: YamlNode, report: ReportNode): void {
  const name = sanitizeUserText(key);
  const kind = nonTextKind(value) ?? '';
  report(value, `parameter "${name}" is ${kind}, and must be text`, remedyOf(name, value, kind));
}

function remedyOf(name: string, value: YamlNode, kind: string): string {
  if (kind === 'empty') return 'give it a value, or remove it';
  return value.kind === 'scalar' ? quoteHint : `write it as a block of text: ${name}: |`;
}

/** Reports unknown fields of `spec`. Returns those that are parameters in the wrong place. */
function checkSpecFields(spec: YamlNode | undefined, report: ReportNode): readonly YamlEntry[] {
  const misplaced: YamlEntry[] = [];
  for (const entry of entriesOf(spec)) {
    const { key, value } = entry;
    if (specFields.includes(key)) continue;
    const nearest = nearestName(key, specFields);
    const isParameter = nearest === undefined && (value.kind === 'scalar' || key === 'objects');
    if (isParameter) misplaced.push(entry);
    else
      report(
        value,
        `spec has no field "${sanitizeUserText(key)}"`,
        nearest === undefined ? `fields are ${specFields.join(', ')}` : `did you mean ${nearest}?`,
      );
  }
  const names = misplaced.map(({ key }) => `"${sanitizeUserText(key)}"`);
  const isOne = names.length === 1;
  if (names.length > 0)
    report(
      misplaced[0]?.value,
      `spec has no field${isOne ? '' : 's'} ${names.join(', ')}`,
      `move ${isOne ? 'it' : 'them'} under spec.parameters, if the provider is to read ${isOne ? 'it' : 'them'}`,
    );
  return misplaced;
}
