import {
  type Document,
  LineCounter,
  type Node,
  type YAMLMap,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  parseAllDocuments,
} from 'yaml';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import { type SecretProviderClass, readClass } from './class-object.ts';
import type { Diagnostic, SourceLocation } from './diagnostic.ts';

/** What a file of manifests holds. */
export type ClassFile = {
  readonly classes: readonly SecretProviderClass[];
  /** Why documents could not be read. */
  readonly parseErrors: readonly Diagnostic[];
};

/**
 * Finds the SecretProviderClasses in a file's text: YAML of one or more documents, or JSON; inside a `kind: List` too. Objects of other
 * kinds are passed over. A malformed document is reported, and the others are still read.
 * @param file how places name the file
 */
export function readClassFile(file: string, text: string): ClassFile {
  const classes: SecretProviderClass[] = [];
  const parseErrors: Diagnostic[] = [];
  const lineCounter = new LineCounter();
  const lines = text.split(/\r?\n/);
  const locationAt = (offset: number): SourceLocation => {
    const { line, col } = lineCounter.linePos(offset);
    return { file, line, column: col };
  };
  // At its default level the library writes warnings of its own to standard error.
  const options = { lineCounter, merge: true, prettyErrors: false, logLevel: 'error' } as const;
  for (const document of parseAllDocuments(text, options)) {
    const yamlError = document.errors[0];
    if (yamlError !== undefined) {
      parseErrors.push(syntaxDiagnostic(locationAt(yamlError.pos[0]), yamlError.message, text));
      continue;
    }
    for (const node of findClasses(document.contents, document)) {
      const value = toPlain(node, document);
      if (value === undefined)
        parseErrors.push(
          syntaxDiagnostic(locationAt(node.range?.[0] ?? 0), 'too many aliases', text),
        );
      else
        classes.push(
          readClass(value, {
            lines,
            nodeAt: (...path) => nodeAt(node, path, document),
            locationOf: (at) => locationAt((at ?? node).range?.[0] ?? 0),
          }),
        );
    }
  }
  return { classes, parseErrors };
}

function syntaxDiagnostic(place: SourceLocation, message: string, text: string): Diagnostic {
  const remedy = text.includes('{{')
    ? 'it looks like a template: render it first, with helm template for example'
    : 'check indentation and quotes there';
  return {
    place,
    severity: 'error',
    code: 'INVALID_CLASS',
    message: `not YAML: ${sanitizeExternalText(message)}`,
    remedy,
  };
}

function findClasses(contents: unknown, document: Document): YAMLMap[] {
  const node = resolve(contents, document);
  if (!isMap(node)) return [];
  if (node.get('kind') === 'SecretProviderClass') return [node];
  const items = resolve(node.get('items', true), document);
  return isSeq(items) ? items.items.flatMap((item) => findClasses(item, document)) : [];
}

/** Undefined where aliases would make it grow beyond measure. */
function toPlain(node: YAMLMap, document: Document): unknown {
  try {
    return node.toJS(document, { maxAliasCount: 100 });
  } catch {
    return undefined;
  }
}

function nodeAt(
  node: YAMLMap,
  path: readonly (string | number)[],
  document: Document,
): Node | undefined {
  let current: Node | undefined = node;
  for (const key of path) {
    const child: unknown = isMap(current)
      ? current.items.find((pair) => isScalar(pair.key) && pair.key.value === key)?.value
      : isSeq(current) && typeof key === 'number'
        ? current.items[key]
        : undefined;
    current = resolve(child, document);
  }
  return current;
}

function resolve(node: unknown, document: Document): Node | undefined {
  const resolved = isAlias(node) ? node.resolve(document) : node;
  return isMap(resolved) || isSeq(resolved) || isScalar(resolved) ? resolved : undefined;
}
