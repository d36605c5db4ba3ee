import { SecretError } from '../errors/secret-error.ts';

const durations: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const sizes: Readonly<Record<string, number>> = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** Milliseconds of `500ms`, `30s`, `2m`, `1h` or `0`. @throws SecretError NOT_CONFIGURED naming `setting` */
export function parseDuration(text: string, setting: string): number {
  if (text === '0') return 0;
  return quantity(text, durations) ?? refuse(setting, text, 'a whole number with ms, s, m or h, such as 30s');
}

/** Bytes of `1048576`, `512KiB`, `32MiB` or `1GiB`. @throws SecretError NOT_CONFIGURED naming `setting` */
export function parseBytes(text: string, setting: string): number {
  return quantity(text, sizes) ?? refuse(setting, text, 'a whole number of bytes, or with KiB, MiB or GiB');
}

/** A whole number from `least` up. @throws SecretError NOT_CONFIGURED naming `setting` */
export function parseCount(text: string, setting: string, least: number): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : NaN;
  return count >= least ? count : refuse(setting, text, `a whole number of at least ${least}`);
}

/** One of a few words. @throws SecretError NOT_CONFIGURED naming `setting` */
export function parseChoice<T extends string>(text: string, setting: string, choices: readonly T[]): T {
  return choices.find((choice) => choice === text) ?? refuse(setting, text, `one of ${choices.join(', ')}`);
}

function quantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^([0-9]{1,12})([A-Za-z]*)$/.exec(text);
  const unit = match?.[2] === undefined || !Object.hasOwn(units, match[2]) ? undefined : units[match[2]];
  return unit === undefined ? undefined : Number(match?.[1]) * unit;
}

function refuse(setting: string, text: string, wanted: string): never {
  throw new SecretError('NOT_CONFIGURED', `${setting} is ${JSON.stringify(text.slice(0, 100))}`, {
    hint: `give ${wanted}`,
  });
}
