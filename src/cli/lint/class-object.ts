import { type Node, isScalar } from 'yaml';
import { quoteForeign } from '../../core/safe-text.ts';
import type { Parameters } from '../../core/workload.ts';
import { nearestName } from '../../formats/suggest.ts';
import type { Finding, Place } from './finding.ts';

/** How a class stands in its file. */
export type ClassSource = {
  /** The file's lines, without their ends. */
  readonly lines: readonly string[];
  /** The node at a path of keys and indexes inside the class; undefined where it does not stand there itself. */
  nodeAt(...path: (string | number)[]): Node | undefined;
  /** Where a node begins; without one, where the class does. */
  placeOf(node: Node | undefined): Place;
};

/**
 * `exact`: that very character, as in block scalars. Otherwise the beginning of the parameter's value or, where there is
 * no such parameter, of `spec.parameters` or of the class.
 */
export type ExactPlace = Place & { readonly exact: boolean };

/** Finds in the class's file what a provider reported about a parameter's text; see {@link ExactPlace}. */
export function placeInParameter(
  source: ClassSource,
  at: {
    readonly parameter?: string | undefined;
    readonly line?: number | undefined;
    readonly column?: number | undefined;
  },
): ExactPlace {
  const node = at.parameter === undefined ? undefined : source.nodeAt('spec', 'parameters', at.parameter);
  const start = source.placeOf(node ?? source.nodeAt('spec', 'parameters'));
  if (at.line === undefined) return { ...start, exact: true };
  if (isScalar(node) && node.type?.startsWith('BLOCK') === true) {
    // The text begins in the line after the indicator, | or >, and each line stands behind its indentation.
    const written = source.lines[start.line + at.line - 1];
    const meant = String(node.value).split('\n')[at.line - 1];
    if (written !== undefined && meant !== undefined && written.endsWith(meant)) {
      const indentation = written.length - meant.length;
      return {
        file: start.file,
        line: start.line + at.line,
        column: indentation + (at.column ?? 1),
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
  readonly providerPlace: Place;
  readonly parameters: Parameters;
  /** The files that `spec.secretObjects` copy into Kubernetes Secrets. */
  readonly synced: readonly { readonly objectName: string; readonly place: Place }[];
  /** Where it begins. */
  readonly place: Place;
  /** What the API server or the driver would refuse, or take for something else. */
  readonly findings: readonly Finding[];
  /** The place in the file of a place in a parameter's text, both counted from 1. */
  placeOf(parameter?: string, line?: number, column?: number): ExactPlace;
};

const specFields = ['provider', 'parameters', 'secretObjects'];

/** Reads a class out of the plain value that its YAML stands for. Never throws: what is wrong with it are its findings. */
export function readClass(value: unknown, source: ClassSource): SecretProviderClass {
  const object = fields(value);
  const metadata = fields(object.metadata);
  const spec = fields(object.spec);
  const name = text(metadata.name);
  const findings: Finding[] = [];
  const report = (path: (string | number)[], message: string, remedy: string): void => {
    const place = source.placeOf(source.nodeAt(...path));
    findings.push({ place, severity: 'error', code: 'INVALID_CLASS', class: name, message, remedy });
  };

  if (!text(object.apiVersion).startsWith('secrets-store.csi.x-k8s.io/'))
    report(
      ['apiVersion'],
      'apiVersion is not that of a SecretProviderClass',
      'write secrets-store.csi.x-k8s.io/v1',
    );
  if (name === '') report(['metadata'], 'metadata.name is missing', 'give the class a name');
  if (text(spec.provider) === '') report(['spec'], 'spec.provider is missing', 'name the provider');
  for (const field of Object.keys(spec)) {
    if (specFields.includes(field)) continue;
    const near = nearestName(field, specFields);
    const remedy = near === undefined ? `fields are ${specFields.join(', ')}` : `did you mean ${near}?`;
    report(['spec', field], `spec has no field "${quoteForeign(field)}"`, remedy);
  }
  const synced = readSynced(spec.secretObjects);
  for (const { objectName, path } of synced)
    if (objectName === '')
      report(path, 'an entry of secretObjects has no objectName', 'name a file of the volume');
  return {
    name,
    namespace: text(metadata.namespace),
    provider: text(spec.provider),
    providerPlace: source.placeOf(source.nodeAt('spec', 'provider')),
    parameters: readParameters(spec.parameters, source, report),
    synced: synced
      .filter(({ objectName }) => objectName !== '')
      .map(({ objectName, path }) => ({
        objectName,
        place: source.placeOf(source.nodeAt(...path, 'objectName')),
      })),
    place: source.placeOf(undefined),
    findings,
    placeOf: (parameter, line, column) => placeInParameter(source, { parameter, line, column }),
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
  for (const [name, content] of Object.entries(fields(value))) {
    const path = ['spec', 'parameters', name];
    const node = source.nodeAt(...path);
    const written = isScalar(node) ? node.source : undefined;
    // kubectl reads YAML 1.1, in which these words are booleans.
    const isWord = isScalar(node) && node.type === 'PLAIN' && /^(y|yes|n|no|on|off)$/i.test(written ?? '');
    if (typeof content !== 'string' || isWord) {
      const remedy =
        typeof content === 'object'
          ? `write it as a block of text: ${quoteForeign(name)}: |`
          : 'put it in quotes';
      report(
        path,
        `parameter "${quoteForeign(name)}" is ${isWord ? 'a boolean' : kindOf(content)}, and must be text`,
        remedy,
      );
    }
    if (typeof content === 'string') parameters[name] = content;
    else if (written !== undefined) parameters[name] = written;
  }
  return parameters;
}

function readSynced(secretObjects: unknown): { objectName: string; path: (string | number)[] }[] {
  return list(secretObjects).flatMap((object, outer) =>
    list(fields(object).data).map((entry, inner) => ({
      objectName: text(fields(entry).objectName),
      path: ['spec', 'secretObjects', outer, 'data', inner],
    })),
  );
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function kindOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'a map' : `a ${typeof value}`;
}
