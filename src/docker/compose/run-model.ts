import { randomUUID } from 'node:crypto';
import { toJsonText } from '../../formats/json.ts';
import type { ComposeModel } from '../model/compose-model.ts';
import type { Docker } from './docker.ts';
import { type Part, without } from './flags.ts';
import { unnamedFile } from './model-file.ts';
import type { Project } from './project.ts';

/** An application whose model has been loaded. */
export type LoadedProject = {
  readonly docker: Docker;
  /** Compose's flags. */
  readonly flags: readonly Part[];
  readonly project: Project;
};

/** What the arguments below replace. */
const replaced = ['file', 'profile', 'project-directory', 'project-name', 'workdir'];

/**
 * Runs a command of Compose on a model instead of the files.
 * @param words the command and its arguments
 * @returns the exit code
 */
export async function runOnModel(
  { docker, flags, project }: LoadedProject,
  model: ComposeModel,
  words: readonly string[],
): Promise<number> {
  const file = await unnamedFile(toJsonText(model), `docker-dso-${randomUUID()}`);
  try {
    const profiles = project.profiles.filter((profile) => profile !== '');
    return await docker.run(
      [
        ...['compose', ...without(flags, replaced)],
        ...profiles.flatMap((profile) => ['--profile', profile]),
        ...(typeof model.name === 'string' ? ['--project-name', model.name] : []),
        // Standard input stays the user's.
        ...['--project-directory', project.directory, '--file', '/dev/fd/3'],
        ...words,
      ],
      file.fd,
    );
  } finally {
    await file.close();
  }
}
