import { Command } from 'commander';
import { escapeUnprintable } from '../../core/safe-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import { createStyler } from '../../formats/terminal-style.ts';
import type { CommandContext } from './context.ts';
import { findDifferences } from './differences.ts';
import { type Format, formatOption, formatTable, formatTime, isoTime } from './output.ts';
import { formatProblems } from './problems.ts';
import type { SecretDifference, ServiceDifference } from './service-difference.ts';

/** As `diff` and `kubectl diff` have them: 1 is no failure. */
const exitCodes = { same: 0, different: 1, failed: 2 } as const;

/** `docker dso diff`: which secrets `up` would change. No values. */
export function diffCommand(context: CommandContext): Command {
  const { stdout, stderr, env, setExitCode } = context;
  return new Command('diff')
    .argument('[service...]', 'services of the application; default: all')
    .addOption(formatOption())
    .addHelpText(
      'after',
      `
Exit codes, as kubectl diff has them: 0 no difference, 1 a difference, 2 a failure.`,
    )
    .action(async (names: readonly string[], { format }: { format: Format }) => {
      // Of what is thrown as well.
      setExitCode(exitCodes.failed);
      const { project, problems, errors, services } = await findDifferences(context, names);
      stderr.write(errors + formatProblems(problems, createStyler(stderr, env)));
      if (services === undefined) return;
      stdout.write(format === 'json' ? asJson(project, services) : differencesText(services));
      setExitCode(services.length === 0 ? exitCodes.same : exitCodes.different);
    });
}

function asJson(project: string, services: readonly ServiceDifference[]): string {
  const dated = services.map(({ staleSince, ...service }) => ({
    ...service,
    ...(staleSince !== undefined && { staleSince: isoTime(staleSince) }),
  }));
  return `${printableJson({ version: 1, project, services: dated })}\n`;
}

/** The differences for people. */
export function differencesText(services: readonly ServiceDifference[]): string {
  if (services.length === 0)
    return 'No differences: the containers have the secrets of the Compose files.\n';
  return services.map((service) => `${lineOf(service)}\n${secretsText(service.secrets)}`).join('');
}

function lineOf(difference: ServiceDifference): string {
  const { service, action, isStale, staleSince, rotates } = difference;
  const since = staleSince === undefined ? '' : ` since ${formatTime(staleSince)}`;
  const actions = {
    create: 'a container is made',
    recreate: 'its containers are made again',
    start: 'its containers start, and get the current values',
    none: '',
  };
  const remedy = rotates
    ? 'the agent brings the new one to them'
    : `to use the new one: docker dso restart ${service}`;
  const stale = `a value has changed${since}, and its containers have the old one; ${remedy}`;
  return escapeUnprintable(`${service}: ${action === 'none' && isStale ? stale : actions[action]}`);
}

const signs = { new: '+', removed: '-', changed: '~' } as const;

function secretsText(secrets: readonly SecretDifference[]): string {
  if (secrets.length === 0) return '';
  return formatTable(
    secrets.map(({ name, change, source, before }) => {
      const sources = [before, source].filter((each) => each !== undefined);
      return [`  ${signs[change]} ${name}`, sources.join(' -> ')];
    }),
  );
}
