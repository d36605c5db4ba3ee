import { ExactNumber, type JsonValue } from './json-text.ts';
import type { YamlReport } from './yaml-document.ts';
import type { YamlNode, YamlText } from './yaml-tree.ts';

/** Longer texts that look like a number JSON does not know stay text. */
const longestNumber = 400;

/**
 * The JSON that a YAML node stands for. Plain scalars have the types that YAML 1.2's core schema and Go's yaml.v3 (which Vault's users know) agree on:
 * `true`, `null`, decimal, `0x`, `0o`, `0b` and leading-zero octal integers, and floats. A number that is JSON as it stands keeps its characters.
 */
export function yamlToJson(node: YamlNode, report: YamlReport): JsonValue {
  if (node.kind === 'list') return node.items.map((item) => yamlToJson(item, report));
  if (node.kind === 'scalar') return node.quoted ? node.text : plainToJson(node, report);
  const object = Object.create(null) as Record<string, JsonValue>;
  for (const { key, value } of node.entries) object[key] = yamlToJson(value, report);
  return object;
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
  if (text.length > longestNumber) return text;
  const integer = /^([-+]?)(0x[\da-f]+|0b[01]+|0o?[0-7]+|[1-9]\d*)$/i.exec(text.replaceAll('_', ''));
  if (integer !== null) return new ExactNumber(decimal(integer[1] ?? '', integer[2] ?? ''));
  const float = /^([-+]?)(\d+\.\d*|\.\d+)([eE][-+]?\d+)?$/.exec(text);
  if (float !== null) return new ExactNumber(inJsonForm(float[1] ?? '', float[2] ?? '', float[3] ?? ''));
  if (/^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$/.test(text))
    report(node.at, 'JSON has no such number', 'put it in quotes if it is a text');
  return text;
}

function decimal(sign: string, digits: string): string {
  const octal = /^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits;
  return `${sign === '-' ? '-' : ''}${BigInt(octal.toLowerCase())}`;
}

function inJsonForm(sign: string, digits: string, exponent: string): string {
  const [whole = '', fraction = ''] = digits.split('.');
  const point = fraction === '' ? '' : `.${fraction}`;
  return `${sign === '-' ? '-' : ''}${whole.replace(/^0+(?=\d)/, '') || '0'}${point}${exponent}`;
}
