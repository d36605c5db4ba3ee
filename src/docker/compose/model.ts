import { SecretError } from '../../core/errors.ts';
import { escapeUnprintable, sanitizeUserText } from '../../core/safe-text.ts';
import { parseJsonText } from '../../formats/json.ts';
import { type ComposeModel, isObject } from '../model/compose-model.ts';
import type { Docker } from './docker.ts';
import { type Part, valuesOf, without } from './flags.ts';
import { findCompose, oldestCompose } from './compose-version.ts';

/** What {@link loadModel} reads. */
export type ModelInput = {
  readonly docker: Docker;
  /** Compose's flags. */
  readonly flags: readonly Part[];
  /** Standard input, if a file is `-`. */
  readonly input?: string | undefined;
};

/** A model, or why Compose has none. */
export type LoadedModel =
  | { readonly model: ComposeModel; readonly warnings: string }
  /** What Compose printed, and its exit code. */
  | { readonly model?: never; readonly code: number; readonly errors: string };

/**
 * The merged model of an application, as Compose prints it. It has the services of all profiles:
 * without them, Compose would take their containers for orphans.
 * @throws SecretError NOT_CONFIGURED if Compose is missing or too old
 */
export async function loadModel(input: ModelInput): Promise<LoadedModel> {
  const all = await printModel(input, ['--profile', '*']);
  // An inactive service can have faults that do not matter, such as an env_file that is not there.
  const printed = all.code === 0 ? all : await printModel(input, []);
  if (printed.code !== 0) {
    await checkCompose(input.docker);
    return { code: printed.code, errors: printed.stderr };
  }
  return { model: parseModel(printed.stdout), warnings: printed.stderr };
}

/** The name of the application. Undefined if it cannot be found out without standard input. */
export async function findProjectName(
  docker: Docker,
  flags: readonly Part[],
): Promise<string | undefined> {
  const named = valuesOf(flags, 'project-name').at(-1);
  if (named !== undefined) return named;
  if (valuesOf(flags, 'file').includes('-')) return undefined;
  const { model } = await loadModel({ docker, flags }).catch(() => ({ model: undefined }));
  return typeof model?.name === 'string' ? model.name : undefined;
}

function printModel({ docker, flags, input }: ModelInput, profiles: readonly string[]) {
  const own = without(flags, ['dry-run']);
  return docker.capture(['compose', ...own, ...profiles, 'config', '--format', 'json'], input);
}

function parseModel(text: string): ComposeModel {
  try {
    const model = parseJsonText(text);
    if (isObject(model)) return model;
  } catch {
    // As for a model that is no object.
  }
  throw new SecretError('NOT_CONFIGURED', 'docker compose config printed no model in JSON', {
    hint: `update Compose to ${oldestCompose} or newer`,
  });
}

/** @throws SecretError NOT_CONFIGURED if Compose is missing or too old */
export async function checkCompose(docker: Docker): Promise<void> {
  const found = await findCompose(docker);
  const hint = 'install it: https://docs.docker.com/compose/install';
  if (found === undefined)
    throw new SecretError('NOT_CONFIGURED', 'docker has no plugin compose', { hint });
  if (found.isTooOld)
    throw new SecretError(
      'NOT_CONFIGURED',
      `Docker Compose ${sanitizeUserText(found.version.replace(/^v/, ''))} is too old; docker dso needs ${oldestCompose} or newer`,
      { hint },
    );
}

/** What a program printed, safe for a terminal; line breaks stay. */
export function printable(text: string): string {
  return text.split('\n').map(escapeUnprintable).join('\n');
}
