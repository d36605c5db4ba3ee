import * as z from 'zod';
import { quoteForeign } from '../../errors/status-text.ts';
import { reader, settingsOf } from '../setting.ts';
import type { VaultLogin } from './login.ts';
import { isCleanPath, parseGoBoolean } from './tls-parameters.ts';

/** A variable that is set, under the name that was found, and its value. */
export type Setting = { readonly name: string; readonly text: string };

/** Reads variables of an environment by what stands behind their prefixes. Whatever cannot be used throws NOT_CONFIGURED naming the variable. */
export type SettingReader = {
  /** `ROLE_ID_FILE`: ours alone, `KEYFERRY_VAULT_ROLE_ID_FILE`. For openbao `KEYFERRY_OPENBAO_...` wins. */
  own(name: string): Setting | undefined;
  /** `ADDR`: ours, else that of the vendors' clients, `VAULT_ADDR`. For openbao `BAO_...` wins. */
  any(name: string): Setting | undefined;
  /** What `parse` makes of it. @param wanted what to give, for the message */
  read<T>(
    setting: Setting | undefined,
    parse: (text: string) => T | undefined,
    wanted: string,
  ): T | undefined;
  file(setting: Setting | undefined): string | undefined;
  flag(setting: Setting | undefined): boolean;
  rate(setting: Setting | undefined, otherwise: number): number;
  readonly faulty: ReturnType<typeof settingsOf>['faulty'];
};

const positive = z.coerce.number().positive().max(10_000);

/** See {@link SettingReader}; empty variables count as absent. */
export function createSettingReader(
  dialect: VaultLogin['dialect'],
  env: Readonly<Record<string, string | undefined>>,
): SettingReader {
  const get = reader(env);
  const { faulty } = settingsOf(dialect);
  const own = dialect === 'openbao' ? ['KEYFERRY_OPENBAO_', 'KEYFERRY_VAULT_'] : ['KEYFERRY_VAULT_'];
  const theirs = dialect === 'openbao' ? ['BAO_', 'VAULT_'] : ['VAULT_'];

  function first(prefixes: readonly string[], name: string): Setting | undefined {
    for (const prefix of prefixes) {
      const text = get(prefix + name);
      if (text !== undefined) return { name: prefix + name, text };
    }
    return undefined;
  }

  const read: SettingReader['read'] = (setting, parse, wanted) => {
    if (setting === undefined) return undefined;
    const value = parse(setting.text);
    if (value !== undefined) return value;
    throw faulty(setting.name, `is ${quoteForeign(setting.text)}`, `give ${wanted}`);
  };

  return {
    own: (name) => first(own, name),
    any: (name) => first([...own, ...theirs], name),
    read,
    file: (setting) =>
      read(setting, (text) => (isCleanPath(text) ? text : undefined), 'an absolute, clean path'),
    flag: (setting) => read(setting, parseGoBoolean, 'true or false') ?? false,
    rate: (setting, otherwise) =>
      read(setting, (text) => positive.safeParse(text).data, 'a number above 0') ?? otherwise,
    faulty,
  };
}
