import { Command, Option } from 'commander';
import { escapeUnprintable } from '../../core/safe-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import { createStyler } from '../../formats/terminal-style.ts';
import type { AgentInfo, Mode } from '../agent-api.ts';
import { emptyConfig } from '../config/defaults.ts';
import { userConfigFile } from '../local/user-places.ts';
import { rewriteWithoutImages } from '../model/rewrite.ts';
import { servicesOf } from '../model/service.ts';
import type { DsoProblem } from '../problem.ts';
import { placesBelow } from '../setup/places.ts';
import { checkStores, loadApplication } from './application.ts';
import type { CommandContext } from './context.ts';
import { type Format, formatOption } from './output.ts';
import { formatProblems, hasError, locate } from './problems.ts';

/** `docker dso lint`: checks dso.yaml and the Compose files, without agent, engine and store. */
export function lintCommand(context: CommandContext): Command {
  const { stdout, env, setExitCode } = context;
  return new Command('lint')
    .addOption(formatOption())
    .addOption(
      new Option('--mode <mode>', 'who would read the secrets; also before lint').choices([
        'agent',
        'local',
      ]),
    )
    .addHelpText(
      'after',
      `
It reads what docker dso up would read: give -f, -p, --profile and --config before lint.
Exit codes: 0 no errors (warnings may be shown), 1 errors, 2 a wrong command line.`,
    )
    .action(async ({ format, mode = context.mode }: Options) => {
      const report = await lint(context, mode);
      stdout.write(
        format === 'json'
          ? asJson(report)
          : `${formatProblems(report.problems, createStyler(stdout, env))}${summary(report)}\n`,
      );
      setExitCode(hasError(report.problems) ? 1 : 0);
    });
}

type Options = { readonly format: Format; readonly mode?: Mode };

type LintReport = {
  /** The number of services, and of those with secrets. */
  readonly services: number;
  readonly withSecrets: number;
  readonly problems: readonly DsoProblem[];
};

async function lint(context: CommandContext, mode: Mode | undefined): Promise<LintReport> {
  const { composed, dsoYaml, project } = await loadApplication(context);
  const { config = emptyConfig(), problems } = dsoYaml.result;
  const ofStores = await checkStores(config, dsoYaml, context.cwd, readerOf(mode, context));
  const ofDsoYaml = [...problems, ...ofStores];
  if (composed.model === undefined)
    return {
      services: 0,
      withSecrets: 0,
      problems: [...ofDsoYaml, composeProblem(composed.errors)],
    };
  const { model } = composed;
  const result = rewriteWithoutImages({ model, config });
  return {
    services: servicesOf(model).length,
    withSecrets: result.services.length,
    problems: [...ofDsoYaml, ...(await locate(result.problems, project.files, context.cwd))],
  };
}

/** What would read the stores, without asking it. */
function readerOf(
  mode: Mode | undefined,
  { env }: CommandContext,
): Pick<AgentInfo, 'mode' | 'configFile'> {
  return mode === 'local'
    ? { mode, configFile: userConfigFile(env, process.getuid?.()) }
    : { mode: 'agent', configFile: placesBelow('/').configFile };
}

/** Compose's own words, the last line of which says what is wrong. */
function composeProblem(errors: string): DsoProblem {
  const [cause = 'it failed'] = errors.trim().split('\n').slice(-1);
  return {
    ...{ severity: 'error', code: 'CANNOT_INJECT', where: '' },
    message: `docker compose config: ${escapeUnprintable(cause)}`,
    hint: 'correct the Compose file',
  };
}

function count(problems: readonly DsoProblem[], severity: DsoProblem['severity']): number {
  return problems.filter((problem) => problem.severity === severity).length;
}

function summary({ services, withSecrets, problems }: LintReport): string {
  const plural = (number: number, noun: string): string =>
    `${number} ${noun}${number === 1 ? '' : 's'}`;
  const found = `${plural(count(problems, 'error'), 'error')}, ${plural(count(problems, 'warning'), 'warning')}`;
  return `${plural(services, 'service')}, ${withSecrets} with secrets: ${found}`;
}

function asJson({ services, withSecrets, problems }: LintReport): string {
  const errors = count(problems, 'error');
  const warnings = count(problems, 'warning');
  const flat = problems.map(({ place, ...problem }) => ({ ...place, ...problem }));
  const report = { version: 1, summary: { services, withSecrets, errors, warnings } };
  return `${printableJson({ ...report, problems: flat })}\n`;
}
