import { type YamlNode, type YamlProblem, nodeAt } from '../../formats/yaml-tree.ts';
import { readYamlDocuments } from '../../formats/yaml.ts';
import { type SecretProviderClass, readClass } from './class-object.ts';
import type { Diagnostic } from './diagnostic.ts';
import { isTemplate, templateHint } from './template.ts';

/** The content of a file of manifests. */
export type ClassFile = {
  readonly classes: readonly SecretProviderClass[];
  /** Why documents could not be read. */
  readonly parseErrors: readonly Diagnostic[];
};

/**
 * Finds the SecretProviderClasses in a file's text: YAML of one or more documents, or JSON, also
 * inside a `kind: List`. Objects of other kinds are ignored. A malformed document that mentions a
 * class is reported, and the others are still read.
 * @param file the file's name in locations
 */
export function readClassFile(file: string, text: string): ClassFile {
  const classes: SecretProviderClass[] = [];
  const parseErrors: Diagnostic[] = [];
  const lines = text.split(/\r?\n/);
  for (const document of documentsWithClasses(text))
    for (const { root, problems } of readYamlDocuments(document.text, document.firstLine)) {
      for (const problem of problems)
        if (problem.kind !== 'content' || problem.code === 'DUPLICATE_KEY')
          parseErrors.push(parseError(file, problem, document.text));
      classes.push(...findClasses(root).map((node) => readClass(node, file, lines)));
    }
  return { classes, parseErrors };
}

type DocumentText = { readonly text: string; readonly firstLine: number };

/**
 * The documents that mention a class. A line that begins with `---` always begins a document, also
 * in a block or in quotes (YAML 1.2.2, section 9.1.2). So the others need no parsing.
 */
function documentsWithClasses(text: string): DocumentText[] {
  const documents: DocumentText[] = [];
  let firstLine = 1;
  for (const part of text.split(/^(?=---(?:\s|$))/m)) {
    if (part.includes('SecretProviderClass')) documents.push({ text: part, firstLine });
    firstLine += countLines(part);
  }
  return documents;
}

function countLines(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count += 1;
  return count;
}

function parseError(file: string, problem: YamlProblem, text: string): Diagnostic {
  const { at, message, firstLine, hint = 'check indentation and quotes there' } = problem;
  const remedy = isTemplate(text)
    ? templateHint
    : firstLine === undefined
      ? hint
      : 'remove one of them';
  const first = firstLine === undefined ? '' : `, first in line ${firstLine}`;
  return {
    place: { file, ...at },
    severity: 'error',
    code: 'INVALID_CLASS',
    message: `not YAML: ${message}${first}`,
    remedy,
  };
}

function findClasses(node: YamlNode | undefined): readonly YamlNode[] {
  if (node?.kind !== 'map') return [];
  const kind = nodeAt(node, ['kind']);
  if (kind?.kind === 'scalar' && kind.text === 'SecretProviderClass') return [node];
  const items = nodeAt(node, ['items']);
  return items?.kind === 'list' ? items.items.flatMap(findClasses) : [];
}
