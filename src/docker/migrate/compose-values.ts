import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { Redacted } from '../../core/redacted.ts';
import type { Docker } from '../compose/docker.ts';
import { type Part, without } from '../compose/flags.ts';
import { loadModel } from '../compose/model.ts';
import { objectOf, plainText } from '../model/compose-model.ts';
import type { ServiceSecret } from './find-values.ts';

const maxBytes = 1_048_576;

/**
 * Reads the values of secrets of Compose: files, and variables as Compose sees them.
 * @param directory of the project
 * @returns by the names of the secrets; without those that cannot be read, and those of the engine
 */
export async function readComposeSecrets(
  secrets: readonly ServiceSecret[],
  docker: Docker,
  flags: readonly Part[],
  directory: string,
): Promise<ReadonlyMap<string, Redacted<Uint8Array>>> {
  const values = new Map<string, Redacted<Uint8Array>>();
  const variables = new Map<string, string>();
  for (const { source, from } of secrets)
    if (from.from === 'environment') variables.set(source, from.variable);
    else if (from.from === 'file' && !values.has(source)) {
      const bytes = await readValue(from.path);
      if (bytes !== undefined) values.set(source, new Redacted(bytes));
    }
  if (variables.size === 0) return values;
  const texts = await interpolate([...new Set(variables.values())], docker, flags, directory);
  for (const [source, variable] of variables) {
    const text = texts.get(variable);
    if (text !== undefined && text !== '') values.set(source, new Redacted(Buffer.from(text)));
  }
  return values;
}

/** Compose knows its env files best: it gets an application that has nothing but the variables. */
async function interpolate(
  names: readonly string[],
  docker: Docker,
  flags: readonly Part[],
  directory: string,
): Promise<ReadonlyMap<string, string>> {
  const valid = names.filter((name) => /^[A-Za-z_]\w*$/.test(name));
  const environment = Object.fromEntries(valid.map((name) => [name, `\${${name}-}`]));
  const application = { name: 'values', services: { values: { image: 'none', environment } } };
  const own = without(flags, ['file', 'profile', 'project-name', 'project-directory', 'workdir']);
  const words = [...own, '--project-directory', directory, '--file', '-'];
  const { model } = await loadModel({
    docker,
    flags: [{ words }],
    input: JSON.stringify(application),
  });
  const printed = objectOf(objectOf(objectOf(objectOf(model).services).values).environment);
  return new Map(
    Object.entries(printed).flatMap(([name, text]) =>
      typeof text === 'string' ? [[name, plainText(text)] as const] : [],
    ),
  );
}

/** Undefined for a file that is missing, empty, too large, or no regular file. */
async function readValue(path: string): Promise<Buffer | undefined> {
  // A pipe would block.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => undefined);
  try {
    const found = await handle?.stat();
    if (found?.isFile() !== true || found.size === 0 || found.size > maxBytes) return undefined;
    return await handle?.readFile();
  } catch {
    return undefined;
  } finally {
    await handle?.close();
  }
}
