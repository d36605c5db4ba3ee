import { sanitizeUserText } from '../../core/safe-text.ts';
import { nearestName } from '../../formats/suggest.ts';
import { type YamlEntry, type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import { type ReportNode, entriesOf } from './fields.ts';

const specFields = ['provider', 'parameters', 'secretObjects'] as const;

type SpecField = (typeof specFields)[number];

/** `spec` of a class. A field that is misspelt, or beside `spec`, counts as if it were right. */
export type ClassSpec = {
  readonly node: YamlNode | undefined;
  readonly fields: Readonly<Partial<Record<SpecField, YamlNode>>>;
  /** Parameters that are directly under `spec`. */
  readonly misplaced: readonly YamlEntry[];
};

/** Reads `spec`. Reports unknown fields, and known ones in the wrong place. */
export function readSpec(root: YamlNode, report: ReportNode): ClassSpec {
  const node = nodeAt(root, ['spec']);
  const fields: Partial<Record<SpecField, YamlNode>> = {};
  const misplaced: YamlEntry[] = [];
  const misspelt: (readonly [SpecField, YamlNode])[] = [];
  for (const entry of entriesOf(node)) {
    const { key, value } = entry;
    const nearest = nearestName(key, specFields) as SpecField | undefined;
    if (isSpecField(key)) fields[key] = value;
    else if (nearest !== undefined) {
      report(value, `spec has no field "${sanitizeUserText(key)}"`, `did you mean ${nearest}?`);
      misspelt.push([nearest, value]);
    } else if (value.kind === 'scalar' || key === 'objects') misplaced.push(entry);
    else
      report(
        value,
        `spec has no field "${sanitizeUserText(key)}"`,
        `fields are ${specFields.join(', ')}`,
      );
  }
  reportMisplaced(misplaced, report);
  const beside = entriesOf(root).filter(({ key }) => isSpecField(key));
  reportBeside(beside, report);
  const others = beside.map(({ key, value }) => [key as SpecField, value] as const);
  for (const [field, value] of [...misspelt, ...others]) fields[field] ??= value;
  return { node, fields, misplaced };
}

function isSpecField(key: string): key is SpecField {
  return (specFields as readonly string[]).includes(key);
}

function reportMisplaced(entries: readonly YamlEntry[], report: ReportNode): void {
  const [first] = entries;
  if (first === undefined) return;
  const [plural, pronoun] = entries.length === 1 ? ['', 'it'] : ['s', 'them'];
  report(
    first.value,
    `spec has no field${plural} ${quotedKeys(entries)}`,
    `move ${pronoun} under spec.parameters, if the provider is to read ${pronoun}`,
  );
}

function reportBeside(entries: readonly YamlEntry[], report: ReportNode): void {
  const [first] = entries;
  if (first === undefined) return;
  const [verb, pronoun] = entries.length === 1 ? ['is', 'it'] : ['are', 'them'];
  report(first.value, `${quotedKeys(entries)} ${verb} beside spec`, `move ${pronoun} under spec`);
}

function quotedKeys(entries: readonly YamlEntry[]): string {
  return entries.map(({ key }) => `"${sanitizeUserText(key)}"`).join(', ');
}
