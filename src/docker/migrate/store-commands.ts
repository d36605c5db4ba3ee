import type { StoreConfig } from '../../core/host-store.ts';
import { type NewSecret, type Target, valueField } from './name-secrets.ts';

/** Where a command finds the value. */
export type ValueFile = { readonly name: string; readonly bytes: Uint8Array };

/** The file of a value for the command of its store. Huawei Cloud's reads JSON. */
export function valueFile(
  { name }: Pick<NewSecret, 'name'>,
  bytes: Uint8Array,
  { type }: Target,
): ValueFile {
  const base = name.replaceAll('/', '.');
  if (type !== 'huawei') return { name: base, bytes };
  const body = { name, secret_string: Buffer.from(bytes).toString() };
  return { name: `${base}.json`, bytes: Buffer.from(JSON.stringify({ body })) };
}

/**
 * The store's own commands, for a POSIX shell. Each reads its value from a file: other users of the
 * host can see arguments. It removes the file when the store has the value.
 * @param directory of the value files
 */
export function storeCommands(
  secrets: readonly NewSecret[],
  target: Target,
  directory: string,
  { region, addresses, namespace }: Partial<StoreConfig> = {},
): readonly string[] {
  const { type, mount } = target;
  const commands = secrets.map((secret): readonly string[] => {
    const { name } = secret;
    const file = `"$VALUES/${valueFile(secret, new Uint8Array(), target).name}"`;
    switch (type) {
      case 'aws':
        return [
          `aws secretsmanager create-secret${region === undefined ? '' : ` --region ${region}`} --name ${name} --secret-string file://${file} && rm ${file}`,
        ];
      case 'vault':
      case 'openbao':
        return [
          `${type === 'vault' ? 'vault' : 'bao'} kv put -mount=${mount} ${name} ${valueField}=@${file} && rm ${file}`,
        ];
      case 'huawei':
        return [
          `hcloud CSMS CreateSecret${region === undefined ? '' : ` --cli-region=${region}`} --cli-jsonInput=${file} && rm ${file}`,
        ];
      case 'local':
      case 'alibabacloud':
        return [
          '# aliyun takes a value only as an argument, which other users can see.',
          `# In the console of KMS, make the generic secret ${name} of the text in ${file}.`,
        ];
    }
  });
  const variable = type === 'openbao' ? 'BAO' : 'VAULT';
  const [address] = addresses ?? [];
  return [
    `VALUES=${quote(directory)}`,
    ...(address === undefined ? [] : [`export ${variable}_ADDR=${quote(address)}`]),
    ...(namespace === undefined ? [] : [`export ${variable}_NAMESPACE=${quote(namespace)}`]),
    ...commands.flat(),
    type === 'alibabacloud' ? '# When all are there: rm -r "$VALUES"' : 'rmdir "$VALUES"',
  ];
}

/** A word of a POSIX shell. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
