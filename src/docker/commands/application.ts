import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { SecretError, errorCodeOf, fileProblemOf } from '../../core/errors.ts';
import type { StoreConfig } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { AgentInfo, ProjectStore } from '../agent-api.ts';
import { type LoadedModel, loadModel } from '../compose/model.ts';
import { type Project, findProject } from '../compose/project.ts';
import { type HostDefaults, emptyConfig } from '../config/defaults.ts';
import type { DsoConfigResult } from '../config/read.ts';
import type { DsoConfig } from '../config/types.ts';
import type { DsoProblem } from '../problem.ts';
import type { CommandContext } from './context.ts';
import { displayName, locate } from './problems.ts';

/** A Compose application, and the dso.yaml beside it. */
export type Application = {
  readonly project: Project;
  readonly composed: LoadedModel;
  readonly dsoYaml: DsoYaml;
};

/** The dso.yaml of a project. Without one, its text is empty. */
export type DsoYaml = {
  readonly text: string;
  /** As messages show it. */
  readonly name: string;
  readonly path: string;
  /** Read without the host's stores. */
  readonly result: DsoConfigResult;
};

/** @throws SecretError if Compose is missing, or if a dso.yaml that is named cannot be read */
export async function loadApplication(context: CommandContext): Promise<Application> {
  const { line, env, cwd, docker, stdin } = context;
  const project = await findProject(line.compose, env, cwd);
  const input = project.readsStdin ? await readAll(stdin) : undefined;
  const [composed, dsoYaml] = await Promise.all([
    loadModel({ docker, flags: line.compose, input }),
    readDsoYaml(context, project),
  ]);
  return { project, composed, dsoYaml };
}

async function readDsoYaml(
  { line, env, cwd }: CommandContext,
  { directory }: Project,
): Promise<DsoYaml> {
  const named = line.config ?? env.DSO_CONFIG ?? '';
  const path = named === '' ? join(directory, 'dso.yaml') : resolve(cwd, named);
  const name = displayName(path, cwd);
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    if (named === '' && errorCodeOf(cause) === 'ENOENT') return '';
    throw new SecretError(
      'INVALID_REQUEST',
      `${sanitizeUserText(name)} cannot be read: ${fileProblemOf(cause)}`,
      { hint: 'check --config and DSO_CONFIG', cause },
    );
  });
  return { text, name, path, result: await parse(text, name, 'unknown') };
}

/** Loads the parser only where it is needed, and while Compose makes the model. */
async function parse(
  text: string,
  name: string,
  host: HostDefaults | 'unknown',
): Promise<DsoConfigResult> {
  if (text === '')
    return { config: emptyConfig(host === 'unknown' ? undefined : host), problems: [] };
  const { readDsoConfig } = await import('../config/read.ts');
  return readDsoConfig(text, name, host);
}

/** The dso.yaml. If it names no stores, it has those of the agent's host. */
export async function withHostStores(
  { text, name, result }: DsoYaml,
  info: AgentInfo,
): Promise<DsoConfigResult> {
  const namesStores = result.config !== undefined && result.config.providers.size > 0;
  return namesStores ? result : parse(text, name, hostDefaults(info));
}

function hostDefaults({ stores, defaultStore, exec, runtime = 'off' }: AgentInfo): HostDefaults {
  return {
    stores: new Map(stores.map(({ name, type, region }) => [name, { type, region }])),
    ...{ defaultStore, exec, runtime },
  };
}

/** The stores of a dso.yaml as the agent takes them, by name. */
export function projectStores(config: DsoConfig): Readonly<Record<string, ProjectStore>> {
  return Object.fromEntries(
    Array.from(config.providers, ([name, store]) => [name, withoutLogin(store)]),
  );
}

function withoutLogin(store: StoreConfig): ProjectStore {
  const { type, region, projectId, endpoint, roleArn, addresses, namespace, tlsServerName } = store;
  return { type, region, projectId, endpoint, roleArn, addresses, namespace, tlsServerName };
}

/** What a project's dso.yaml says about stores although only the host's may say it. */
export async function checkStores(
  { providers }: DsoConfig,
  { text, path }: DsoYaml,
  cwd: string,
  { mode, configFile }: Pick<AgentInfo, 'mode' | 'configFile'>,
): Promise<readonly DsoProblem[]> {
  const isFlat = !/^providers\s*:/m.test(text);
  const reader = mode === 'local' ? 'local mode' : 'the agent';
  const hint = `${reader} logs in as ${sanitizeUserText(configFile)} says; docker dso init writes it`;
  const problems = Array.from(providers).flatMap(([name, store]): readonly DsoProblem[] => {
    const { auth, storeFile, keyFile, caFile, fallback } = store;
    const files = { store_file: storeFile, key_file: keyFile, ca_file: caFile };
    const keys = Object.entries({ auth, ...files, fallback })
      .filter(([, value]) => value !== undefined)
      .map(([key]) => key);
    const [key] = keys;
    if (key === undefined) return [];
    const shown = sanitizeUserText(name);
    const [severity, message] =
      auth !== undefined && auth.credentials.size > 0
        ? (['error', `${reader} takes no credentials of ${shown} from a project`] as const)
        : ([
            'warning',
            `${reader} does not use ${keys.join(', ')} of ${shown} from a project`,
          ] as const);
    const config = isFlat && key !== 'auth' ? 'config.' : '';
    const where = isFlat ? `${config}${key}` : `providers.${name}.${key}`;
    return [{ severity, code: 'INVALID_CONFIGURATION', message, hint, where }];
  });
  return locate(problems, [path], cwd);
}
