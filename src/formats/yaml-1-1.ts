const yes = /^(y|Y|yes|Yes|YES|on|On|ON|true|True|TRUE)$/;
const no = /^(n|N|no|No|NO|off|Off|OFF|false|False|FALSE)$/;
const integer = /^([-+]?)(0x[\da-f]+|0b[01]+|0o?[0-7]+|0|[1-9]\d*)$/i;
const float = /^[-+]?(\.\d+|\d+(\.\d*)?)(e[-+]?\d+)?$/i;
const maxLength = 100;

/**
 * The text that Go's `sigs.k8s.io/yaml` makes of a plain scalar where a program expects text: it
 * reads a boolean or a number by YAML 1.1, and writes it again. `0123` becomes `83`, `yes` becomes
 * `true`, `1.50` becomes `1.5`.
 */
export function readYaml11(text: string): string {
  if (yes.test(text)) return 'true';
  if (no.test(text)) return 'false';
  if (text.length > maxLength || !/^[-+.\d]/.test(text)) return text;
  if (/^[-+]?\.(inf|Inf|INF)$/.test(text)) return text.startsWith('-') ? '-Inf' : '+Inf';
  if (/^\.(nan|NaN|NAN)$/.test(text)) return 'NaN';
  const digits = text.replaceAll('_', '');
  return readInteger(digits) ?? readFloat(digits) ?? text;
}

/** Undefined for a text that is not an integer of at most 64 bits. */
function readInteger(text: string): string | undefined {
  const [, sign, digits = ''] = integer.exec(text) ?? [];
  if (sign === undefined) return undefined;
  const octal = /^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits.toLowerCase();
  const value = BigInt(octal) * (sign === '-' ? -1n : 1n);
  const isInRange = value >= -(2n ** 63n) && value < 2n ** 64n;
  return isInRange ? String(value) : undefined;
}

/** Numbers have 32 bits and the fewest digits that identify them: Go's format `g`. */
function readFloat(text: string): string | undefined {
  const number = Number(text);
  if (!float.test(text) || !Number.isFinite(number)) return undefined;
  const value = Math.fround(number);
  if (!Number.isFinite(value)) return value < 0 ? '-Inf' : '+Inf';
  if (value === 0) return text.startsWith('-') ? '-0' : '0';
  let shortest = value.toExponential();
  for (let digits = 0; digits < 9; digits += 1) {
    const candidate = value.toExponential(digits);
    if (Math.fround(Number(candidate)) !== value) continue;
    shortest = candidate;
    break;
  }
  const [mantissa = '', exponent = ''] = shortest.split('e');
  const power = Number(exponent);
  if (power >= -4 && power < 6) return String(Number(shortest));
  const sign = power < 0 ? '-' : '+';
  return `${mantissa}e${sign}${String(Math.abs(power)).padStart(2, '0')}`;
}
