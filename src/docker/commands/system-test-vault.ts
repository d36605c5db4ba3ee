import { Command } from 'commander';
import { printableJson } from '../../formats/printable-json.ts';
import type { StoreInfo } from '../agent-api.ts';
import { type Finding, failedBy, fine, formatFindings, seeLog } from '../doctor/findings.ts';
import { isVault } from '../doctor/stores.ts';
import type { CommandContext } from './context.ts';
import { type Format, formatOption } from './output.ts';
import { type StoreWords, findStore } from './stores.ts';

const vaultWords: StoreWords = {
  noun: 'Vault',
  flag: '--store',
  init: 'sudo docker dso init --provider vault --vault-address URL',
};

/** `docker dso system test-vault`: logs in to a Vault, step by step. */
export function systemTestVaultCommand({ agent, stdout, setExitCode }: CommandContext): Command {
  return new Command('test-vault')
    .addOption(formatOption())
    .option('--store <name>', 'the store in dso.yaml; default: the Vault of the host')
    .action(
      async ({ store: name, format }: { readonly store?: string; readonly format: Format }) => {
        const info = await agent.info();
        const stores = info.stores.filter(({ type }) => isVault(type));
        const store = findStore({ ...info, stores }, name, vaultWords);
        const findings = await check(store, agent);
        const isFine = findings.every(({ failure }) => failure === undefined);
        stdout.write(
          format === 'json'
            ? `${printableJson({ version: 1, ok: isFine, store: store.name, steps: findings })}\n`
            : formatFindings(findings),
        );
        if (!isFine) setExitCode(1);
      },
    );
}

async function check(
  { name, address }: StoreInfo,
  agent: CommandContext['agent'],
): Promise<readonly Finding[]> {
  try {
    const { steps = [] } = await agent.checkStore(name);
    const findings = steps.map(({ name: step, found, failure }): Finding =>
      failure === undefined
        ? fine(step, found)
        : { name: step, failure: { cause: failure.message, remedy: failure.hint ?? seeLog } },
    );
    const isFine = findings.every(({ failure }) => failure === undefined);
    return isFine ? [...findings, fine(name, address)] : findings;
  } catch (thrown) {
    return [failedBy(name, thrown)];
  }
}
