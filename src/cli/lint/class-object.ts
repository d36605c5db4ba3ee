import { type Node, isScalar } from 'yaml';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { Parameters } from '../../core/workload.ts';
import { nearestName } from '../../formats/suggest.ts';
import type { Diagnostic, SourceLocation } from './diagnostic.ts';

/** How a class stands in its file. */
export type ClassSource = {
  /** The file's lines, without their ends. */
  readonly lines: readonly string[];
  /** The node at a path of keys and indexes inside the class; undefined where it does not stand there itself. */
  nodeAt(...path: (string | number)[]): Node | undefined;
  /** Where a node begins; without one, where the class does. */
  locationOf(node: Node | undefined): SourceLocation;
};

/**
 * `exact`: that very character, as in block scalars. Otherwise the beginning of the parameter's value or, where there is
 * no such parameter, of `spec.parameters` or of the class.
 */
export type ExactLocation = SourceLocation & { readonly exact: boolean };

/** Finds in the class's file what a provider reported about a parameter's text; see {@link ExactLocation}. */
export function locateInParameter(
  source: ClassSource,
  position: {
    readonly parameter?: string | undefined;
    readonly line?: number | undefined;
    readonly column?: number | undefined;
  },
): ExactLocation {
  const node =
    position.parameter === undefined
      ? undefined
      : source.nodeAt('spec', 'parameters', position.parameter);
  const start = source.locationOf(node ?? source.nodeAt('spec', 'parameters'));
  if (position.line === undefined) return { ...start, exact: true };
  if (isScalar(node) && node.type?.startsWith('BLOCK') === true) {
    // The text begins in the line after the indicator, | or >, and each line stands behind its indentation.
    const sourceLine = source.lines[start.line + position.line - 1];
    const parsedLine = String(node.value).split('\n')[position.line - 1];
    if (sourceLine !== undefined && parsedLine !== undefined && sourceLine.endsWith(parsedLine)) {
      const indentation = sourceLine.length - parsedLine.length;
      return {
        file: start.file,
        line: start.line + position.line,
        column: indentation + (position.column ?? 1),
        exact: true,
      };
    }
  }
  return { ...start, exact: false };
}

/** A SecretProviderClass as somebody wrote it. What is missing, or has the wrong shape, is empty. */
export type SecretProviderClass = {
  readonly name: string;
  readonly namespace: string;
  readonly provider: string;
  /** Where the provider is named. */
  readonly providerLocation: SourceLocation;
  readonly parameters: Parameters;
  /** The files that `spec.secretObjects` copy into Kubernetes Secrets. */
  readonly syncedFiles: readonly { readonly objectName: string; readonly place: SourceLocation }[];
  /** Where it begins. */
  readonly place: SourceLocation;
  /** What the API server or the driver would refuse, or take for something else. */
  readonly diagnostics: readonly Diagnostic[];
  /** The place in the file of a place in a parameter's text, both counted from 1. */
  locationOf(parameter?: string, line?: number, column?: number): ExactLocation;
};

const specFields = ['provider', 'parameters', 'secretObjects'];

/** Reads a class out of the plain value that its YAML stands for. Never throws: what is wrong with it are its findings. */
export function readClass(value: unknown, source: ClassSource): SecretProviderClass {
  const object = asRecord(value);
  const metadata = asRecord(object.metadata);
  const spec = asRecord(object.spec);
  const name = asString(metadata.name);
  const diagnostics: Diagnostic[] = [];
  const report = (path: (string | number)[], message: string, remedy: string): void => {
    const place = source.locationOf(source.nodeAt(...path));
    diagnostics.push({
      place,
      severity: 'error',
      code: 'INVALID_CLASS',
      class: name,
      message,
      remedy,
    });
  };

  if (!asString(object.apiVersion).startsWith('secrets-store.csi.x-k8s.io/'))
    report(
      ['apiVersion'],
      'apiVersion is not that of a SecretProviderClass',
      'write secrets-store.csi.x-k8s.io/v1',
    );
  if (name === '') report(['metadata'], 'metadata.name is missing', 'give the class a name');
  if (asString(spec.provider) === '')
    report(['spec'], 'spec.provider is missing', 'name the provider');
  for (const field of Object.keys(spec)) {
    if (specFields.includes(field)) continue;
    const suggestion = nearestName(field, specFields);
    const remedy =
      suggestion === undefined
        ? `fields are ${specFields.join(', ')}`
        : `did you mean ${suggestion}?`;
    report(['spec', field], `spec has no field "${sanitizeExternalText(field)}"`, remedy);
  }
  const syncedFiles = readSyncedFiles(spec.secretObjects);
  for (const { objectName, path } of syncedFiles)
    if (objectName === '')
      report(path, 'an entry of secretObjects has no objectName', 'name a file of the volume');
  return {
    name,
    namespace: asString(metadata.namespace),
    provider: asString(spec.provider),
    providerLocation: source.locationOf(source.nodeAt('spec', 'provider')),
    parameters: readParameters(spec.parameters, source, report),
    syncedFiles: syncedFiles
      .filter(({ objectName }) => objectName !== '')
      .map(({ objectName, path }) => ({
        objectName,
        place: source.locationOf(source.nodeAt(...path, 'objectName')),
      })),
    place: source.locationOf(undefined),
    diagnostics,
    locationOf: (parameter, line, column) => locateInParameter(source, { parameter, line, column }),
  };
}

/**
 * Every parameter as text, so that the provider can look for further faults even where the API server would refuse the
 * class. Has no prototype.
 */
function readParameters(
  value: unknown,
  source: ClassSource,
  report: (path: string[], message: string, remedy: string) => void,
): Parameters {
  const parameters = Object.create(null) as Record<string, string>;
  for (const [name, content] of Object.entries(asRecord(value))) {
    const path = ['spec', 'parameters', name];
    const node = source.nodeAt(...path);
    const sourceText = isScalar(node) ? node.source : undefined;
    // kubectl reads YAML 1.1, in which these words are booleans.
    const isYaml11Boolean =
      isScalar(node) && node.type === 'PLAIN' && /^(y|yes|n|no|on|off)$/i.test(sourceText ?? '');
    if (typeof content !== 'string' || isYaml11Boolean) {
      const remedy =
        typeof content === 'object'
          ? `write it as a block of text: ${sanitizeExternalText(name)}: |`
          : 'put it in quotes';
      report(
        path,
        `parameter "${sanitizeExternalText(name)}" is ${isYaml11Boolean ? 'a boolean' : kindOf(content)}, and must be text`,
        remedy,
      );
    }
    if (typeof content === 'string') parameters[name] = content;
    else if (sourceText !== undefined) parameters[name] = sourceText;
  }
  return parameters;
}

function readSyncedFiles(
  secretObjects: unknown,
): { objectName: string; path: (string | number)[] }[] {
  return asArray(secretObjects).flatMap((object, objectIndex) =>
    asArray(asRecord(object).data).map((entry, dataIndex) => ({
      objectName: asString(asRecord(entry).objectName),
      path: ['spec', 'secretObjects', objectIndex, 'data', dataIndex],
    })),
  );
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function asArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function asString(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function kindOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'a map' : `a ${typeof value}`;
}
