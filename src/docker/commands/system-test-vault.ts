import { Command } from 'commander';
import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { AgentInfo, StoreInfo } from '../agent-api.ts';
import { type Finding, failedBy, fine, formatFindings, seeLog } from '../doctor/findings.ts';
import type { CommandContext } from './context.ts';
import { type Format, formatOption } from './output.ts';

/** `docker dso system test-vault`: logs in to a Vault, step by step. */
export function systemTestVaultCommand({ agent, stdout, setExitCode }: CommandContext): Command {
  return new Command('test-vault')
    .addOption(formatOption())
    .option('--store <name>', 'the store in dso.yaml; default: the Vault of the host')
    .action(
      async ({ store: name, format }: { readonly store?: string; readonly format: Format }) => {
        const store = findVault(await agent.info(), name);
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

/** @throws SecretError INVALID_REQUEST, NOT_CONFIGURED */
function findVault({ stores, defaultStore }: AgentInfo, name: string | undefined): StoreInfo {
  const vaults = stores.filter(({ type }) => type === 'vault' || type === 'openbao');
  const wanted = name ?? defaultStore;
  const found = vaults.find((store) => store.name === wanted);
  if (found !== undefined) return found;
  const names = vaults.map((store) => sanitizeUserText(store.name)).join(', ');
  const [only, ...others] = vaults;
  if (name === undefined && only !== undefined && others.length === 0) return only;
  if (only === undefined)
    throw new SecretError('NOT_CONFIGURED', 'the host has no store of the type vault or openbao', {
      hint: 'add one: sudo docker dso init --provider vault --vault-address URL',
    });
  throw new SecretError(
    'INVALID_REQUEST',
    name === undefined
      ? 'the host has several stores of Vault'
      : `the host has no Vault with the name ${sanitizeUserText(name)}`,
    { hint: `give --store; they are ${names}` },
  );
}
