import { sanitizeExternalText } from '../../core/safe-text.ts';
import { runtimeName } from '../model/runtime.ts';
import type { DsoProblem } from '../problem.ts';
import type { Docker } from './docker.ts';

/** What the engine says of the runtime `dso`. */
export type EngineRuntime =
  | {
      /** Its program; undefined: the engine has no such runtime. */
      readonly program: string | undefined;
    }
  /** The engine does not respond. */
  | { readonly errors: string };

/** Asks the engine for its runtime `dso`. */
export async function findRuntime(docker: Pick<Docker, 'capture'>): Promise<EngineRuntime> {
  const format = `{{with index .Runtimes "${runtimeName}"}}{{.Path}}{{end}}`;
  const { code, stdout, stderr } = await docker.capture(['info', '--format', format]);
  if (code !== 0) return { errors: stderr };
  const program = stdout.trim();
  return { program: program === '' ? undefined : program };
}

/** Whether the engine has what `runtime: on` of dso.yaml needs. */
export async function checkRuntime(
  docker: Pick<Docker, 'capture'>,
): Promise<readonly DsoProblem[]> {
  const problem = { severity: 'error', code: 'CANNOT_INJECT', where: 'runtime' } as const;
  const found = await findRuntime(docker);
  if ('errors' in found) {
    const message = `the engine does not say which runtimes it has: ${sanitizeExternalText(found.errors.trim(), [])}`;
    return [{ ...problem, message, hint: 'call docker info' }];
  }
  if (found.program !== undefined) return [];
  return [
    {
      ...problem,
      message: `dso.yaml has runtime: on, and the engine has no runtime ${runtimeName}`,
      hint: 'register it with sudo docker dso system setup --runtime, or write runtime: off',
    },
  ];
}
