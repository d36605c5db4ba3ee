import type { Position, YamlNode, YamlText } from './yaml-tree.ts';
import { ExactNumber, type JsonValue } from './json.ts';

/**
 * Receives a problem with a node: what is wrong, where, what to do, and the line of the first of
 * two that clash.
 */
export type YamlReport = (at: Position, message: string, hint?: string, firstLine?: number) => void;

/** A longer text that looks like a number JSON does not have stays text. */
const maxNumberLength = 400;
const notFinite = /^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$/;

/**
 * The JSON value of a YAML node. Plain scalars have the types on which YAML 1.2's core schema and
 * Go's yaml.v3 (which Vault users know) agree: `true`, `null`, integers (decimal, `0x`, `0o`, `0b`
 * and octal with a leading zero), and floats. A number in JSON syntax keeps its characters.
 */
export function yamlToJson(node: YamlNode, report: YamlReport): JsonValue {
  if (node.kind === 'list') return node.items.map((item) => yamlToJson(item, report));
  if (node.kind === 'scalar') return node.quoted ? node.text : plainToJson(node, report);
  const object = Object.create(null) as Record<string, JsonValue>;
  for (const { key, value } of node.entries) object[key] = yamlToJson(value, report);
  return object;
}

/** The JavaScript value of a YAML node. Numbers lose the digits that JavaScript cannot hold. */
export function yamlToPlain(node: YamlNode): unknown {
  if (node.kind === 'list') return node.items.map(yamlToPlain);
  if (node.kind === 'map')
    return Object.fromEntries(node.entries.map(({ key, value }) => [key, yamlToPlain(value)]));
  if (node.quoted) return node.text;
  if (notFinite.test(node.text)) return NaN;
  const json = plainToJson(node, () => undefined);
  return json instanceof ExactNumber ? Number(json.toString()) : json;
}

/** Whether the scalar is YAML's null: empty, `~` or `null`, without quotes. */
export function isYamlNull({ quoted, text }: YamlText): boolean {
  return !quoted && /^(|~|null|Null|NULL)$/.test(text);
}

function plainToJson(node: YamlText, report: YamlReport): JsonValue {
  const { text } = node;
  if (isYamlNull(node)) return null;
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  if (/^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text)) return new ExactNumber(text);
  if (text.length > maxNumberLength) return text;
  const integer = /^([-+]?)(0x[\da-f]+|0b[01]+|0o?[0-7]+|[1-9]\d*)$/i.exec(
    text.replaceAll('_', ''),
  );
  if (integer !== null) return new ExactNumber(decimal(integer[1] ?? '', integer[2] ?? ''));
  const float = /^([-+]?)(\d+\.\d*|\.\d+)([eE][-+]?\d+)?$/.exec(text);
  if (float !== null)
    return new ExactNumber(jsonFloat(float[1] ?? '', float[2] ?? '', float[3] ?? ''));
  if (notFinite.test(text))
    report(node.at, 'JSON has no such number', 'put it in quotes if it is a text');
  return text;
}

function decimal(sign: string, digits: string): string {
  const octal = /^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits;
  return `${sign === '-' ? '-' : ''}${BigInt(octal.toLowerCase())}`;
}

function jsonFloat(sign: string, digits: string, exponent: string): string {
  const [whole = '', fraction = ''] = digits.split('.');
  const point = fraction === '' ? '' : `.${fraction}`;
  return `${sign === '-' ? '-' : ''}${whole.replace(/^0+(?=\d)/, '') || '0'}${point}${exponent}`;
}
