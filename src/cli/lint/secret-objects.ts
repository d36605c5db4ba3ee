import { sanitizeUserText } from '../../core/safe-text.ts';
import { type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import { Fields, type ReportNode, isEmpty, mapsOf, textOf } from './fields.ts';
import { objectName, secretKey } from './kubernetes-names.ts';
import { checkSecretMetadata } from './secret-metadata.ts';

/** A file that becomes a key of a Secret. */
export type SyncedFile = { readonly objectName: string; readonly node: YamlNode };

/** The keys that the API server requires in Secrets of a type. One of each group has to exist. */
const requiredKeys: ReadonlyMap<string, readonly (readonly string[])[]> = new Map([
  ['kubernetes.io/dockerconfigjson', [['.dockerconfigjson']]],
  ['kubernetes.io/dockercfg', [['.dockercfg']]],
  ['kubernetes.io/basic-auth', [['username', 'password']]],
  ['kubernetes.io/ssh-auth', [['ssh-privatekey']]],
  ['kubernetes.io/tls', [['tls.crt'], ['tls.key']]],
]);

const objectFields = ['secretName', 'type', 'data', 'labels', 'annotations'];
const entryFields = ['objectName', 'key'];

/** A Secret: its name in messages, and its type. */
type Secret = { readonly subject: string; readonly type: string };

/**
 * Checks `secretObjects` by the rules of the driver, which makes Secrets of them, and of the API
 * server, which accepts or refuses both the class and the Secrets. A Secret that breaks a rule is
 * never made, and the pods that use it wait.
 * @returns the files that become keys
 */
export function readSecretObjects(node: YamlNode | undefined, report: ReportNode): SyncedFile[] {
  const firstByName = new Map<string, YamlNode>();
  return mapsOf(node, 'secretObjects', report).flatMap((object, index) => {
    const nameNode = nodeAt(object, ['secretName']);
    const shownName = sanitizeUserText(textOf(nameNode).trim());
    const subject =
      shownName === '' ? `item ${index + 1} of secretObjects` : `the Secret ${shownName}`;
    const fields = new Fields(object, subject, objectFields, report);
    const name = fields.text('secretName', 'name the Secret');
    if (name !== '' && !objectName.allows(name))
      report(nameNode, `${subject} has a name that Kubernetes refuses`, objectName.rule);
    reportRepeated(name, nameNode, firstByName, 'secretObjects has the Secret', report);
    const type = fields.text('type', 'write type: Opaque');
    checkSecretMetadata(object, subject, report);
    return fields.isMisspelt('data') ? [] : readData(object, { subject, type }, report);
  });
}

function readData(object: YamlNode, secret: Secret, report: ReportNode): SyncedFile[] {
  const data = nodeAt(object, ['data']);
  if (isEmpty(data)) {
    const hint = 'list at least one file: objectName and key';
    report(data ?? object, `${secret.subject} has no data`, hint);
    return [];
  }
  const entries = mapsOf(data, `data of ${secret.subject}`, report);
  const firstByKey = new Map<string, YamlNode>();
  const files = entries.flatMap((entry, index) =>
    readEntry(entry, `entry ${index + 1} of ${secret.subject}`, secret, firstByKey, report),
  );
  // The key of an entry without one, or one that is refused, may be the required key.
  const keys = entries.map((entry) => textOf(nodeAt(entry, ['key'])).trim());
  if (keys.every((key) => key !== '' && !isRefusedForTls(key, secret.type)))
    checkRequiredKeys(data, secret, firstByKey, report);
  return files;
}

function readEntry(
  entry: YamlNode,
  place: string,
  { subject, type }: Secret,
  firstByKey: Map<string, YamlNode>,
  report: ReportNode,
): SyncedFile[] {
  const fields = new Fields(entry, place, entryFields, report);
  const objectName = fields.text('objectName', 'name a file of the volume');
  const key = fields.text('key', 'name the key of the Secret');
  const node = nodeAt(entry, ['key']);
  reportRepeated(key, node, firstByKey, `${subject} has the key`, report);
  const shownKey = sanitizeUserText(key);
  if (key !== '' && !secretKey.allows(key))
    report(node, `${subject} has a key that Kubernetes refuses: ${shownKey}`, secretKey.rule);
  else if (isRefusedForTls(key, type))
    report(
      node,
      `${subject} has the type ${type} and the key ${shownKey}, which the driver refuses`,
      'such a Secret has only the keys tls.crt and tls.key',
    );
  return objectName === '' ? [] : [{ objectName, node: nodeAt(entry, ['objectName']) ?? entry }];
}

/** Whether the driver refuses the key: it takes only the two that the API server requires. */
function isRefusedForTls(key: string, type: string): boolean {
  return type === 'kubernetes.io/tls' && !['', 'tls.crt', 'tls.key'].includes(key);
}

function checkRequiredKeys(
  data: YamlNode | undefined,
  { subject, type }: Secret,
  keys: ReadonlyMap<string, unknown>,
  report: ReportNode,
): void {
  for (const group of requiredKeys.get(type) ?? [])
    if (!group.some((key) => keys.has(key)))
      report(
        data,
        `${subject} has the type ${type}, but no key ${group.join(' or ')}`,
        `write key: ${group[0] ?? ''}, or type: Opaque`,
      );
}

/** The driver lets the later one of two Secrets, or of two keys, replace the earlier one. */
function reportRepeated(
  name: string,
  node: YamlNode | undefined,
  firstByName: Map<string, YamlNode>,
  subject: string,
  report: ReportNode,
): void {
  if (name === '' || node === undefined) return;
  const first = firstByName.get(name);
  if (first === undefined) firstByName.set(name, node);
  else
    report(
      node,
      `${subject} ${sanitizeUserText(name)} twice, first in line ${first.at.line}`,
      'the later one would replace the earlier one: give it another name',
    );
}
