import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Parameters } from '../../core/workload.ts';
import { type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import type { ClassSpec } from './class-spec.ts';
import { type ReportNode, entriesOf, nonTextKind, quoteHint } from './fields.ts';
import { isTemplateNode, templateHint } from './template.ts';

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
  /** False if there is a value that is not a map. It has an error of its own. */
  readonly isMap: boolean;
  /** `secretObjects`, wherever it is. */
  readonly secretObjects: YamlNode | undefined;
};

/** Reads the parameters of a class. Reports those that are not text. */
export function readClassParameters(
  { fields, misplaced }: ClassSpec,
  report: ReportNode,
): ClassParameters {
  const { parameters } = fields;
  const kind = nonTextKind(parameters) ?? 'text';
  const isMap = parameters === undefined || ['a map', 'empty'].includes(kind);
  if (!isMap)
    report(
      parameters,
      `spec.parameters is ${kind}, and must be a map`,
      'write each parameter as name: "value"',
    );
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
  const secretObjects = fields.secretObjects ?? misplacedObjects;
  return { values, nodes, reported, isMap, secretObjects };
}

function reportNotText(key: string, value: YamlNode, report: ReportNode): void {
  const name = sanitizeUserText(key);
  const kind = nonTextKind(value) ?? '';
  report(value, `parameter "${name}" is ${kind}, and must be text`, remedyOf(name, value, kind));
}

function remedyOf(name: string, value: YamlNode, kind: string): string {
  if (isTemplateNode(value)) return templateHint;
  if (kind === 'empty') return 'give it a value, or remove it';
  return value.kind === 'scalar' ? quoteHint : `write it as a block of text: ${name}: |`;
}
