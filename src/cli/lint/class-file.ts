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
import { quoteForeign } from '../../core/safe-text.ts';
import { type SecretProviderClass, readClass } from './class-object.ts';
import type { Finding, Place } from './finding.ts';

/** What a file of manifests holds. */
export type ClassFile = {
  readonly classes: readonly SecretProviderClass[];
  /** Why documents could not be read. */
  readonly unreadable: readonly Finding[];
};

/**
 * Finds the SecretProviderClasses in a file's text: YAML of one or more documents, or JSON; inside a `kind: List` too. Objects of other
 * kinds are passed over. A malformed document is reported, and the others are still read.
 * @param file how places name the file
 */
export function readClassFile(file: string, text: string): ClassFile {
  const classes: SecretProviderClass[] = [];
  const unreadable: Finding[] = [];
  const lineCounter = new LineCounter();
  const lines = text.split(/\r?\n/);
  const placeAt = (offset: number): Place => {
    const { line, col } = lineCounter.linePos(offset);
    return { file, line, column: col };
  };
  // At its default level the library writes warnings of its own to standard error.
  const options = { lineCounter, merge: true, prettyErrors: false, logLevel: 'error' } as const;
  for (const document of parseAllDocuments(text, options)) {
    const fault = document.errors[0];
    if (fault !== undefined) {
      unreadable.push(malformed(placeAt(fault.pos[0]), fault.message, text));
      continue;
    }
    for (const node of findClasses(document.contents, document)) {
      const value = toPlain(node, document);
      if (value === undefined)
        unreadable.push(malformed(placeAt(node.range?.[0] ?? 0), 'too many aliases', text));
      else
        classes.push(
          readClass(value, {
            lines,
            nodeAt: (...path) => nodeAt(node, path, document),
            placeOf: (at) => placeAt((at ?? node).range?.[0] ?? 0),
          }),
        );
    }
  }
  return { classes, unreadable };
}

function malformed(place: Place, message: string, text: string): Finding {
  const remedy = text.includes('{{')
    ? 'it looks like a template: render it first, with helm template for example'
    : 'check indentation and quotes there';
  return {
    place,
    severity: 'error',
    code: 'INVALID_CLASS',
    message: `not YAML: ${quoteForeign(message)}`,
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

function nodeAt(node: YAMLMap, path: readonly (string | number)[], document: Document): Node | undefined {
  let at: Node | undefined = node;
  for (const key of path) {
    const child: unknown = isMap(at)
      ? at.items.find((pair) => isScalar(pair.key) && pair.key.value === key)?.value
      : isSeq(at) && typeof key === 'number'
        ? at.items[key]
        : undefined;
    at = resolve(child, document);
  }
  return at;
}

function resolve(node: unknown, document: Document): Node | undefined {
  const resolved = isAlias(node) ? node.resolve(document) : node;
  return isMap(resolved) || isSeq(resolved) || isScalar(resolved) ? resolved : undefined;
}
