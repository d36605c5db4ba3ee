import type { YamlNode } from '../../formats/yaml-tree.ts';

/** The remedy for what a template engine should have replaced. */
export const templateHint =
  'it looks like a template: render it first, with helm template for example';

/** Whether a text has an expression of a template, as of Helm. */
export function isTemplate(text: string): boolean {
  return text.includes('{{');
}

/** Whether a value is `{{ ... }}` without quotes: in YAML, a map whose key is a map. */
export function isTemplateNode(node: YamlNode): boolean {
  return node.kind === 'map' && node.entries[0]?.key.startsWith('{') === true;
}
