import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Parameters } from '../../core/workload.ts';
import { type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import { type ClassParameters, readClassParameters } from './class-parameters.ts';
import { readSpec } from './class-spec.ts';
import type { Diagnostic, SourceLocation } from './diagnostic.ts';
import { type ReportNode, entriesOf, isEmpty, nonTextKind, quoteHint, textOf } from './fields.ts';
import { type NameRule, namespaceName, objectName } from './kubernetes-names.ts';
import { readSecretObjects } from './secret-objects.ts';

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
  /** It names no provider, and changes only a part of a class: a patch of kustomize. */
  readonly isPatch: boolean;
  /** The location of `spec.provider`. */
  readonly providerLocation: SourceLocation;
  readonly parameters: Parameters;
  /** Parameters with a diagnostic of their own, in lower case. */
  readonly reportedParameters: ReadonlySet<string>;
  /** False if `spec.parameters` is not a map, which has a diagnostic of its own. */
  readonly hasParameters: boolean;
  /** The files that `spec.secretObjects` copies into Kubernetes Secrets. */
  readonly syncedFiles: readonly { readonly objectName: string; readonly place: SourceLocation }[];
  /** Where it begins. */
  readonly place: SourceLocation;
  /** What the API server or the driver would reject or misread. */
  readonly diagnostics: readonly Diagnostic[];
  /** Why the driver would not make the Secrets of `secretObjects`. Mounts work nevertheless. */
  readonly syncDiagnostics: readonly Diagnostic[];
  /** The location in the file of a position in a parameter's text. Both count from 1. */
  locationOf(parameter?: string, line?: number, column?: number): ExactLocation;
};

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
  const name = textOf(nodeAt(root, ['metadata', 'name']));
  const namespace = textOf(nodeAt(root, ['metadata', 'namespace']));
  const reportTo =
    (diagnostics: Diagnostic[], severity: Diagnostic['severity'] = 'error'): ReportNode =>
    (node, message, remedy) =>
      void diagnostics.push({
        place: locationOf(node),
        severity,
        ...(severity === 'error' && { code: 'INVALID_CLASS' }),
        class: name,
        namespace,
        message,
        remedy,
      });
  const diagnostics: Diagnostic[] = [];
  const syncDiagnostics: Diagnostic[] = [];
  const report = reportTo(diagnostics);
  checkApiVersion(nodeAt(root, ['apiVersion']), report, reportTo(diagnostics, 'hint'));
  checkMetadata(nodeAt(root, ['metadata']), report);
  const spec = readSpec(root, report);
  const { provider } = spec.fields;
  if (isEmpty(provider))
    report(
      spec.node,
      'spec.provider is missing',
      'name the provider; of a kustomize patch, check what kustomize build prints',
    );
  else reportNotText(provider, 'spec.provider', report);
  const parameters = readClassParameters(spec, report);
  const files = readSecretObjects(parameters.secretObjects, reportTo(syncDiagnostics));
  return {
    name,
    namespace,
    provider: textOf(provider),
    isPatch: name !== '' && isPatch(root),
    providerLocation: locationOf(provider),
    parameters: parameters.values,
    reportedParameters: parameters.reported,
    hasParameters: parameters.isMap,
    syncedFiles: files.map(({ objectName, node }) => ({ objectName, place: locationOf(node) })),
    place: locationOf(),
    diagnostics,
    syncDiagnostics,
    locationOf: createLocator(parameters, spec.fields.parameters ?? root, file, lines),
  };
}

/**
 * Whether the object has no provider and no objects, and its spec has something else. A class that
 * forgets its provider has objects.
 */
function isPatch(root: YamlNode): boolean {
  const spec = nodeAt(root, ['spec']);
  if (nodeAt(root, ['$patch']) !== undefined) return true;
  const fields = entriesOf(spec).map(({ key }) => key);
  const hasObjects = entriesOf(nodeAt(spec, ['parameters'])).some(
    ({ key }) => key.toLowerCase() === 'objects',
  );
  const isPartial = fields.every((key) => ['parameters', 'secretObjects', '$patch'].includes(key));
  return fields.length > 0 && isPartial && !hasObjects;
}

/** The API server serves two versions. */
function checkApiVersion(node: YamlNode | undefined, report: ReportNode, hint: ReportNode): void {
  const group = 'secrets-store.csi.x-k8s.io';
  const apiVersion = textOf(node);
  if (apiVersion === `${group}/v1alpha1`)
    hint(node, `apiVersion ${apiVersion} is deprecated`, `write ${group}/v1`);
  else if (apiVersion !== `${group}/v1`)
    report(node, 'apiVersion is not that of a SecretProviderClass', `write ${group}/v1`);
}

function checkMetadata(metadata: YamlNode | undefined, report: ReportNode): void {
  const name = nodeAt(metadata, ['name']);
  const namespace = nodeAt(metadata, ['namespace']);
  if (!isEmpty(name)) checkName(name, 'metadata.name', objectName, report);
  else if (isEmpty(nodeAt(metadata, ['generateName'])))
    report(metadata, 'metadata.name is missing', 'give the class a name');
  if (!isEmpty(namespace)) checkName(namespace, 'metadata.namespace', namespaceName, report);
}

function checkName(
  node: YamlNode | undefined,
  field: string,
  { allows, rule }: NameRule,
  report: ReportNode,
): void {
  if (reportNotText(node, field, report) || allows(textOf(node))) return;
  const text = sanitizeUserText(textOf(node));
  report(node, `${field} is not a name that Kubernetes allows: ${text}`, rule);
}

/** Whether it reported a value that is not text. */
function reportNotText(node: YamlNode | undefined, field: string, report: ReportNode): boolean {
  const kind = nonTextKind(node);
  if (kind !== undefined) report(node, `${field} is ${kind}, and must be text`, quoteHint);
  return kind !== undefined;
}

/** Makes the function that finds the location in the file of a position in a parameter's text. */
function createLocator(
  { nodes }: ClassParameters,
  parametersNode: YamlNode,
  file: string,
  lines: readonly string[],
): SecretProviderClass['locationOf'] {
  return (parameter = '', line, column = 1) => {
    const node = nodes.get(parameter);
    const start = { file, ...(node ?? parametersNode).at };
    if (line === undefined) return { ...start, exact: true };
    if (node?.kind === 'scalar' && node.block) {
      // The text begins in the line after the indicator (| or >), and each line is indented.
      const sourceLine = lines[start.line + line - 1];
      const parsedLine = node.text.split('\n')[line - 1];
      if (sourceLine !== undefined && parsedLine !== undefined && sourceLine.endsWith(parsedLine)) {
        const indentation = sourceLine.length - parsedLine.length;
        return { file, line: start.line + line, column: indentation + column, exact: true };
      }
    }
    return { ...start, exact: false };
  };
}
