import { realpath } from 'node:fs/promises';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { createStyler } from '../../formats/terminal-style.ts';
import { checkRuntime } from '../compose/engine-runtime.ts';
import { prepareImages } from '../compose/prepare-images.ts';
import { type Part, commandFlags, isOn, readFlags, valuesOf } from '../compose/flags.ts';
import { printable } from '../compose/model.ts';
import { runOnModel } from '../compose/run-model.ts';
import { namedServices, selectServices } from '../compose/selection.ts';
import { mentionsReference } from '../model/reference.ts';
import { imagesNeeded, rewrite } from '../model/rewrite.ts';
import { shimWords } from '../model/volumes.ts';
import type { DsoProblem } from '../problem.ts';
import { checkStores, loadApplication, projectStores, withHostStores } from './application.ts';
import type { CommandContext } from './context.ts';
import { formatProblems, hasError, locate } from './problems.ts';

/** The command of Compose, taken apart. */
type StartLine = {
  readonly command: string;
  readonly parts: readonly Part[];
  /** After the flags; for `run` it begins with the name of the service. */
  readonly rest: readonly string[];
  /** None: all services of the active profiles. */
  readonly services: readonly string[];
};

/**
 * Runs a command of Compose that creates containers, with their secrets.
 * @returns the exit code
 * @throws SecretError
 */
export async function start(context: CommandContext): Promise<number> {
  const { line, docker, agent, env, stderr } = context;
  const startLine = readStartLine(line);
  const { command, parts } = startLine;
  const asIs = ['compose', ...line.compose.flatMap(({ words }) => words), command, ...line.args];
  if (isOn([...line.compose, ...parts], 'help')) return docker.run(asIs);

  const { project, composed, dsoYaml } = await loadApplication(context);
  const print = async (problems: readonly DsoProblem[]): Promise<number> => {
    const located = await locate(problems, project.files, context.cwd);
    stderr.write(formatProblems(located, createStyler(stderr, env)));
    return hasError(problems) ? 1 : 0;
  };
  if (composed.model === undefined) {
    stderr.write(printable(composed.errors));
    return composed.code;
  }
  const { model } = composed;
  const loaded = { docker, flags: line.compose, project };
  const own = dsoYaml.result.config;
  if (own === undefined) return print(dsoYaml.result.problems);

  if (imagesNeeded(model, own).length === 0) {
    const { problems } = rewrite({ model, images: {}, config: own });
    const code = await print([...dsoYaml.result.problems, ...problems]);
    if (code !== 0) return code;
    // If standard input had the model, it has been read.
    return project.readsStdin
      ? runOnModel(loaded, model, [command, ...line.args])
      : docker.run(asIs);
  }

  const info = await agent.info();
  const usesHost = own.providers.size === 0;
  const { config, problems: found } = await withHostStores(dsoYaml, info);
  if (config === undefined) return print(found);
  const isLocal = info.mode === 'local';
  const ofStores = usesHost ? [] : await checkStores(config, dsoYaml, context.cwd, info);
  const volumes = await agent.volumes();

  const isDryRun = isOn([...line.compose, ...parts], 'dry-run');
  const hasUnknownFlag = parts.some(({ unknown }) => unknown);
  const selected = selectServices({
    model,
    // The value of a flag that is not known looks like the name of a service.
    profiles: hasUnknownFlag ? ['*'] : project.profiles,
    names: hasUnknownFlag ? [] : startLine.services,
    noDeps: isOn(parts, 'no-deps'),
  });
  const prepared = await prepareImages({
    ...{ ...loaded, model, parts, isDryRun, selected },
    names: imagesNeeded(model, config, volumes),
    buildsFirst: command === 'watch' && !isOn(parts, 'no-up'),
  });
  if ('code' in prepared) return prepared.code;
  const result = rewrite({ model: prepared.model, images: prepared.images, config, volumes });
  stderr.write(printable(composed.warnings));
  const injected = new Set(result.services.map(({ service }) => service));
  const ofRun = command === 'run' ? checkVariables(parts) : [];
  const hasRuntime = config.runtime === 'on' && injected.size > 0;
  const ofEngine = hasRuntime ? await checkRuntime(docker) : [];
  const code = await print([...found, ...ofStores, ...result.problems, ...ofRun, ...ofEngine]);
  if (code !== 0 || result.model === undefined) return code;
  if (isLocal)
    stderr.write(
      'docker dso: local mode, without an agent: nothing notices that a secret changes, and nothing rotates it; docker dso up reads it again\n',
    );
  if (!isDryRun && typeof model.name === 'string') {
    const registration = {
      services: result.services,
      stores: usesHost ? {} : projectStores(config),
      directory: await realpath(project.directory),
      isNamed: project.isNamed,
    };
    await agent.putProject(model.name, registration, selected);
  }
  const needsShim = !hasRuntime && injected.has(startLine.services[0] ?? '');
  const flags = needsShim ? prepared.parts.map(withShim) : prepared.parts;
  const words = flags.flatMap((part) => part.words);
  return runOnModel(loaded, result.model, [command, ...words, ...startLine.rest]);
}

function readStartLine({ command = '', args }: CommandContext['line']): StartLine {
  const table = commandFlags.get(command) ?? { names: new Map(), values: new Set() };
  const { parts, rest } = readFlags(args, table, { interspersed: command !== 'run' });
  const words = command === 'run' ? rest.slice(0, 1) : rest.filter((word) => word !== '--');
  const services = [...namedServices(command, parts), ...words];
  return { command, parts, rest, services };
}

/** A program of its own in place of the entrypoint starts with the secrets, too. */
function withShim(part: Part): Part {
  if (part.flag !== 'entrypoint' || part.value === undefined) return part;
  const value = [...shimWords, part.value].join(' ');
  return { ...part, value, words: ['--entrypoint', value] };
}

/** `run -e NAME=dso://...` would be the text itself. */
function checkVariables(parts: readonly Part[]): readonly DsoProblem[] {
  return valuesOf(parts, 'env')
    .filter(mentionsReference)
    .map((text) => ({
      ...{ severity: 'error', code: 'MISPLACED_REFERENCE', where: '--env' },
      message: `--env ${sanitizeUserText(text)} is a reference, and only the Compose file can have references`,
      hint: 'write it under environment of the service',
    }));
}
