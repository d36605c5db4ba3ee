import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Parameters } from '../../core/workload.ts';
import { nearestName } from '../../formats/suggest.ts';
import { type YamlEntry, type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import { yamlToPlain } from '../../formats/yaml-values.ts';
import type { Diagnostic, SourceLocation } from './diagnostic.ts';

/**
 * `exact`: the reported character itself, as in block scalars. Otherwise the beginning of the
 * parameter's value or, where there is no such parameter, of `spec.parameters` or of the class.
 */
export type ExactLocation = SourceLocation & { readonly exact: boolean };

/** A SecretProviderClass as written. Fields that are missing or have the wrong type are empty. */
export type SecretProviderClass = {
  readonly name: string;
  readonly namespace: string;
  readonly provider: string;
  /** The location of `spec.provider`. */
  readonly providerLocation: SourceLocation;
  readonly parameters: Parameters;
  /** The files that `spec.secretObjects` copies into Kubernetes Secrets. */
  readonly syncedFiles: readonly { readonly objectName: string; readonly place: SourceLocation }[];
  /** Where it begins. */
  readonly place: SourceLocation;
  /** What the API server or the driver would reject or misread. */
  readonly diagnostics: readonly Diagnostic[];
  /** The location in the file of a position in a parameter's text. Both count from 1. */
  locationOf(parameter?: string, line?: number, column?: number): ExactLocation;
};

const specFields = ['provider', 'parameters', 'secretObjects'];

/**
 * Reads a class from its YAML. Never throws: its problems are its diagnostics.
 * @param lines the lines of the file without their line breaks
 */
export function readClass(
  root: YamlNode,
  file: string,
  lines: readonly string[],
): SecretProviderClass {
  const locationOf = (node: YamlNode = root): SourceLocation => ({ file, ...node.at });
  const spec = nodeAt(root, ['spec']);
  const provider = nodeAt(spec, ['provider']);
  const parameters = nodeAt(spec, ['parameters']);
  const name = textOf(nodeAt(root, ['metadata', 'name']));
  const diagnostics: Diagnostic[] = [];
  const report: Report = (node, message, remedy) =>
    void diagnostics.push({
      place: locationOf(node),
      severity: 'error',
      code: 'INVALID_CLASS',
      class: name,
      message,
      remedy,
    });

  const apiVersion = nodeAt(root, ['apiVersion']);
  if (!textOf(apiVersion).startsWith('secrets-store.csi.x-k8s.io/'))
    report(
      apiVersion,
      'apiVersion is not that of a SecretProviderClass',
      'write secrets-store.csi.x-k8s.io/v1',
    );
  if (name === '')
    report(nodeAt(root, ['metadata']), 'metadata.name is missing', 'give the class a name');
  if (textOf(provider) === '') report(spec, 'spec.provider is missing', 'name the provider');
  for (const { key, value } of entriesOf(spec)) {
    if (specFields.includes(key)) continue;
    const suggestion = nearestName(key, specFields);
    const remedy =
      suggestion === undefined
        ? `fields are ${specFields.join(', ')}`
        : `did you mean ${suggestion}?`;
    report(value, `spec has no field "${sanitizeUserText(key)}"`, remedy);
  }
  const syncedFiles = itemsOf(nodeAt(spec, ['secretObjects']))
    .flatMap((object) => itemsOf(nodeAt(object, ['data'])))
    .flatMap((entry) => {
      const node = nodeAt(entry, ['objectName']);
      const objectName = textOf(node);
      if (objectName !== '') return [{ objectName, place: locationOf(node) }];
      report(entry, 'an entry of secretObjects has no objectName', 'name a file of the volume');
      return [];
    });
  return {
    name,
    namespace: textOf(nodeAt(root, ['metadata', 'namespace'])),
    provider: textOf(provider),
    providerLocation: locationOf(provider),
    parameters: readParameters(parameters, report),
    syncedFiles,
    place: locationOf(),
    diagnostics,
    locationOf(parameter, line, column = 1) {
      const node = parameter === undefined ? undefined : nodeAt(parameters, [parameter]);
      const start = locationOf(node ?? parameters);
      if (line === undefined) return { ...start, exact: true };
      if (node?.kind === 'scalar' && node.block) {
        // The text begins in the line after the indicator (| or >), and each line is indented.
        const sourceLine = lines[start.line + line - 1];
        const parsedLine = node.text.split('\n')[line - 1];
        if (
          sourceLine !== undefined &&
          parsedLine !== undefined &&
          sourceLine.endsWith(parsedLine)
        ) {
          const indentation = sourceLine.length - parsedLine.length;
          return { file, line: start.line + line, column: indentation + column, exact: true };
        }
      }
      return { ...start, exact: false };
    },
  };
}

type Report = (node: YamlNode | undefined, message: string, remedy: string) => void;

/**
 * Every parameter as text, so that the provider can find further problems in a class that the API
 * server would reject. Has no prototype.
 */
function readParameters(node: YamlNode | undefined, report: Report): Parameters {
  const parameters = Object.create(null) as Record<string, string>;
  for (const { key, value } of entriesOf(node)) {
    const content = yamlToPlain(value);
    // kubectl reads YAML 1.1, in which these words are booleans.
    const isYaml11Boolean =
      value.kind === 'scalar' && !value.quoted && /^(y|yes|n|no|on|off)$/i.test(value.text);
    if (typeof content !== 'string' || isYaml11Boolean) {
      const name = sanitizeUserText(key);
      report(
        value,
        `parameter "${name}" is ${isYaml11Boolean ? 'a boolean' : kindOf(content)}, and must be text`,
        typeof content === 'object'
          ? `write it as a block of text: ${name}: |`
          : 'put it in quotes',
      );
    }
    if (value.kind === 'scalar') parameters[key] = value.text;
  }
  return parameters;
}

function entriesOf(node: YamlNode | undefined): readonly YamlEntry[] {
  return node?.kind === 'map' ? node.entries : [];
}

function itemsOf(node: YamlNode | undefined): readonly YamlNode[] {
  return node?.kind === 'list' ? node.items : [];
}

/** The text of a node; empty for other values. */
function textOf(node: YamlNode | undefined): string {
  const value = node === undefined ? undefined : yamlToPlain(node);
  return typeof value === 'string' ? value : '';
}

function kindOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'a map' : `a ${typeof value}`;
}
