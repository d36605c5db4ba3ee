import type { JsonValue } from '../../formats/json.ts';
import { type ImageFacts, type JsonObject, modelText, objectOf, textsOf } from './compose-model.ts';
import { shimDirectory, shimWords as shim } from './volumes.ts';

/** What the engine uses where an image has no PATH. */
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The command line of a service: `entrypoint` and `command` of the model. */
type CommandLine = {
  readonly entrypoint: readonly string[];
  /** Undefined: the service's own, unchanged. */
  readonly command?: readonly string[];
};

/**
 * Puts the shim in front of what the container runs. It follows the engine: the image's command is
 * used only without an entrypoint and a command of the service.
 * https://docs.docker.com/reference/compose-file/services/#entrypoint
 * @returns undefined if the container would run nothing
 */
export function wrapCommand(service: JsonObject, image: ImageFacts): CommandLine | undefined {
  const ownEntrypoint = textsOf(service.entrypoint);
  const ownCommand = textsOf(service.command) ?? [];
  const keepsCommand = ownCommand.length > 0 || (ownEntrypoint?.length ?? 0) > 0;
  const entrypoint = ownEntrypoint ?? (image.entrypoint ?? []).map(modelText);
  const command = keepsCommand ? ownCommand : (image.cmd ?? []).map(modelText);
  // An entrypoint of one empty text means none.
  const program = entrypoint.length === 1 && entrypoint[0] === '' ? [] : entrypoint;
  if (program.length + command.length === 0) return undefined;
  const wrapped = { entrypoint: [...shim, ...program] };
  return keepsCommand ? wrapped : { ...wrapped, command };
}

/**
 * Puts the shim in front of the health check of the service or, if it has none of its own, of the
 * image.
 * @returns undefined if there is nothing to change
 */
export function wrapHealthcheck(service: JsonObject, image: ImageFacts): JsonObject | undefined {
  const own = objectOf(service.healthcheck);
  if (own.disable === true) return undefined;
  const ownTest = typeof own.test === 'string' ? ['CMD-SHELL', own.test] : textsOf(own.test);
  const isOwn = ownTest !== undefined && ownTest.length > 0;
  const [type, ...words] = isOwn ? ownTest : (image.healthcheck ?? []).map(modelText);
  const shell = (image.shell ?? ['/bin/sh', '-c']).map(modelText);
  // The engine takes interval and so on from the image where the service does not say.
  if (type === 'CMD') return { ...own, test: ['CMD', ...shim, ...words] };
  if (type === 'CMD-SHELL') return { ...own, test: ['CMD', ...shim, ...shell, ...words] };
  return undefined;
}

/** The PATH with the shim's directory before that of the service or of the image. */
export function shadowPath(own: JsonValue | undefined, image: ImageFacts): string {
  const path = typeof own === 'string' ? own : modelText(image.path ?? defaultPath);
  return `${shimDirectory}:${path}`;
}
