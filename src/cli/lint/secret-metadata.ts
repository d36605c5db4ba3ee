import { sanitizeUserText } from '../../core/safe-text.ts';
import { type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import { type ReportNode, entriesOf, isEmpty, nonTextKind, quoteHint, textOf } from './fields.ts';
import { labelValue, metadataKey } from './kubernetes-names.ts';

const accountAnnotation = 'kubernetes.io/service-account.name';
const maxAnnotationsBytes = 262_144;

/**
 * Checks `labels` and `annotations` of an item of `secretObjects` by the API server's rules.
 * @param subject the Secret's name in messages
 */
export function checkSecretMetadata(object: YamlNode, subject: string, report: ReportNode): void {
  const annotations = nodeAt(object, ['annotations']);
  for (const { key, value } of textsOf(nodeAt(object, ['labels']), `labels of ${subject}`, report))
    checkLabel(key, value, `labels of ${subject}`, report);
  let size = 0;
  for (const { key, value } of textsOf(annotations, `annotations of ${subject}`, report)) {
    checkKey(key, value, `annotations of ${subject}`, report, key.toLowerCase());
    size += Buffer.byteLength(key + textOf(value));
  }
  if (size > maxAnnotationsBytes)
    report(annotations, `the annotations of ${subject} have more than 256 KiB`, 'shorten them');
  const type = nodeAt(object, ['type']);
  const isToken = textOf(type).trim() === 'kubernetes.io/service-account-token';
  if (isToken && textOf(nodeAt(annotations, [accountAnnotation])) === '')
    report(
      type,
      `${subject} has the type ${textOf(type).trim()}, but no annotation ${accountAnnotation}`,
      'add the annotation, or write type: Opaque',
    );
}

type TextEntry = { readonly key: string; readonly value: YamlNode };

/** The entries whose values are text. Reports other values. */
function textsOf(node: YamlNode | undefined, place: string, report: ReportNode): TextEntry[] {
  if (node?.kind !== 'map' && !isEmpty(node))
    report(node, `${place} must be a map`, 'write each as name: "value"');
  return entriesOf(node).filter(({ key, value }) => {
    const kind = nonTextKind(value);
    const name = sanitizeUserText(key);
    if (kind !== undefined)
      report(value, `${name} in ${place} is ${kind}, and must be text`, quoteHint);
    return kind === undefined;
  });
}

function checkLabel(key: string, value: YamlNode, place: string, report: ReportNode): void {
  checkKey(key, value, place, report);
  if (!labelValue.allows(textOf(value)))
    report(
      value,
      `${sanitizeUserText(key)} in ${place} has a value that Kubernetes refuses`,
      labelValue.rule,
    );
}

/** @param normalized the key as the API server compares it; default: as it is */
function checkKey(
  key: string,
  value: YamlNode,
  place: string,
  report: ReportNode,
  normalized = key,
): void {
  if (!metadataKey.allows(normalized))
    report(
      value,
      `${sanitizeUserText(key)} in ${place} is not a key that Kubernetes allows`,
      metadataKey.rule,
    );
}
