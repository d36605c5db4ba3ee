import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { type JsonValue, parseJsonText } from '../../formats/json.ts';
import { type ImageFacts, type JsonObject, objectOf, textsOf } from '../model/compose-model.ts';
import type { Docker } from './docker.ts';

/** One line of JSON for each image: what {@link ImageFacts} has. */
const format = '{"config":{{json .Config}},"os":{{json .Os}}}';

/**
 * What the engine knows of images, by their names. Images that it does not have are left out.
 * @throws SecretError NOT_CONFIGURED if the engine cannot be asked
 */
export async function inspectImages(
  docker: Docker,
  names: readonly string[],
): Promise<Readonly<Record<string, ImageFacts>>> {
  if (names.length === 0) return {};
  const together = await inspect(docker, names);
  if (together.length === names.length)
    return Object.fromEntries(names.map((name, index) => [name, together[index] ?? {}]));
  if (names.length === 1) return {};
  // The output does not say which of them are missing.
  const found = await Promise.all(
    names.map(async (name) => (await inspect(docker, [name])).map((facts) => [name, facts])),
  );
  return Object.fromEntries(found.flat()) as Record<string, ImageFacts>;
}

async function inspect(docker: Docker, names: readonly string[]): Promise<readonly ImageFacts[]> {
  const { code, stdout, stderr } = await docker.capture([
    ...['image', 'inspect', '--format', format, '--'],
    ...names,
  ]);
  if (code !== 0 && !/no such image/i.test(stderr)) throw toEngineError(stderr);
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => toFacts(objectOf(parseJsonText(line))));
}

function toFacts({ config, os }: JsonObject): ImageFacts {
  const { Entrypoint, Cmd, Env, Healthcheck, Shell, Volumes } = objectOf(config);
  const path = textsOf(Env)?.find((entry) => entry.startsWith('PATH='));
  const list = (value: JsonValue | undefined): readonly string[] | undefined => {
    const texts = textsOf(value);
    return texts === undefined || texts.length === 0 ? undefined : texts;
  };
  const facts = {
    entrypoint: list(Entrypoint),
    cmd: list(Cmd),
    path: path?.slice('PATH='.length),
    healthcheck: list(objectOf(Healthcheck).Test),
    shell: list(Shell),
    volumes: list(Object.keys(objectOf(Volumes))),
    os: typeof os === 'string' ? os : undefined,
  };
  const known = Object.entries(facts).filter(([, value]) => value !== undefined);
  return Object.fromEntries(known);
}

/** The error for what Docker printed when it could not ask the engine. */
export function toEngineError(stderr: string): SecretError {
  const text = stderr.trim();
  if (/permission denied/i.test(text))
    return new SecretError('NOT_CONFIGURED', "no right to the engine's socket", {
      hint: 'add yourself to the group docker and log in again, or use sudo',
    });
  if (
    /cannot connect|error during connect|failed to connect|is the docker daemon running/i.test(text)
  )
    return new SecretError('NOT_CONFIGURED', `the engine is not reachable: ${lastLine(text)}`, {
      hint: 'start it, or choose another: docker context ls',
    });
  return new SecretError('NOT_CONFIGURED', `the engine refused: ${lastLine(text)}`, {
    hint: 'run docker version to see whether it works',
  });
}

function lastLine(text: string): string {
  return sanitizeUserText(text.split('\n').at(-1) ?? '');
}
