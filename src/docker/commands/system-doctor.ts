import { Command } from 'commander';
import { printableJson } from '../../formats/printable-json.ts';
import type { AgentInfo } from '../agent-api.ts';
import {
  checkCompose,
  checkContainers,
  checkEngine,
  checkEngineAccess,
  checkEngineRuntime,
} from '../doctor/engine.ts';
import { type Finding, failedBy, fine, formatFindings } from '../doctor/findings.ts';
import { checkBootOrder, checkSockets, checkVolumes } from '../doctor/host.ts';
import { checkLocal } from '../doctor/local.ts';
import { checkStores } from '../doctor/stores.ts';
import { checkSwarm } from '../doctor/swarm.ts';
import { placesBelow } from '../setup/places.ts';
import { createRunProgram } from '../run-program.ts';
import type { CommandContext } from './context.ts';
import { type Format, formatOption } from './output.ts';

type Options = { readonly providers: readonly string[]; readonly format: Format };

/** `docker dso system doctor`: checks the stores, and what containers with secrets need. */
export function systemDoctorCommand(
  { agent, mode, docker, env, stdout, version, setExitCode }: CommandContext,
  { hostRoot = '/' }: { readonly hostRoot?: string } = {},
): Command {
  const places = placesBelow(hostRoot);
  return new Command('doctor')
    .addOption(formatOption())
    .option(
      '--providers <names>',
      'check only these stores, by name or type: huawei,aws',
      (text: string, before: readonly string[]) => [...before, ...text.split(',')],
      [] as readonly string[],
    )
    .action(async ({ providers, format }: Options) => {
      const { DSO_AGENT_SOCKET = '', DSO_PLUGIN_SOCKET = '', DSO_VOLUMES_DIR = '' } = env;
      const pluginSocket = DSO_PLUGIN_SOCKET === '' ? places.pluginSocket : DSO_PLUGIN_SOCKET;
      const socket = DSO_AGENT_SOCKET === '' ? places.controlSocket : DSO_AGENT_SOCKET;
      const volumes = DSO_VOLUMES_DIR === '' ? places.volumesDirectory : DSO_VOLUMES_DIR;
      const info = await agent.info().catch((thrown: unknown) => failedBy('agent', thrown));
      const isRunning = !isFinding(info);
      const stores = isRunning
        ? await checkStores(info, providers, agent)
        : providers.map((name) => ({ ...info, name }));
      const host = await Promise.all([
        checkEngine(docker),
        checkCompose(docker),
        checkEngineRuntime(docker),
        ...(mode === 'local'
          ? [checkLocal(docker, env), ...(isRunning ? [] : [info])]
          : [
              isRunning ? checkVersion(info, version) : info,
              ...(isRunning
                ? [
                    checkSockets({ pluginSocket }, socket),
                    checkEngineAccess(info),
                    checkVolumes({ volumesDirectory: volumes }),
                    checkSwarm(info),
                  ]
                : []),
              checkBootOrder(places, createRunProgram(env)),
            ]),
        checkContainers(docker),
      ]);
      const findings = [...stores, ...host.flat()];
      const isFine = findings.every(({ failure }) => failure === undefined);
      stdout.write(
        format === 'json'
          ? `${printableJson({ version: 1, ok: isFine, checks: findings.map(toJson) })}\n`
          : formatFindings(findings),
      );
      if (!isFine) setExitCode(1);
    });
}

function isFinding(value: AgentInfo | Finding): value is Finding {
  return 'name' in value;
}

/** A rename during an upgrade leaves the old agent running. */
function checkVersion({ version: running }: AgentInfo, version: string): Finding {
  return running === version
    ? fine('agent', running)
    : {
        name: 'agent',
        failure: {
          cause: `it has the version ${running}, and docker dso has ${version}`,
          remedy: 'sudo systemctl restart dso-agent, or sudo docker dso system setup',
        },
      };
}

function toJson({ name, failure, detail, note }: Finding): object {
  return { name, ok: failure === undefined, ...failure, detail, note };
}
