import { SecretError } from '../../core/errors.ts';
import type { StoreType } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { nearestName } from '../../formats/suggest.ts';
import type { Docker, Environment } from '../compose/docker.ts';
import type { Part } from '../compose/flags.ts';
import type { Project } from '../compose/project.ts';
import { readDsoConfig } from '../config/read.ts';
import type { DsoConfig } from '../config/types.ts';
import { type ComposeModel, objectOf } from '../model/compose-model.ts';
import { servicesOf } from '../model/service.ts';
import { envFilesOf, readLayers } from './compose-layers.ts';
import { readComposeSecrets } from './compose-values.ts';
import { type ServiceSecret, findComposeSecrets, findFiles, findVariables } from './find-values.ts';
import type { Target } from './name-secrets.ts';
import { convertOperatorConfig } from './operator-config.ts';
import { type Plan, makePlan } from './plan.ts';
import { type SourceFile, findRoot, readSourceFile } from './source-file.ts';
import { type ChosenStore, chooseStore, readHostStores } from './target.ts';
import { applyEdits } from './text-edits.ts';

/** What a user chooses. */
export type MigrateOptions = {
  readonly provider?: StoreType;
  readonly store?: string;
  readonly prefix?: string;
  readonly mount: string;
  readonly variable: readonly string[];
  readonly except: readonly string[];
};

/** What {@link prepareMigration} reads. */
export type MigrationInput = {
  readonly project: Project;
  readonly model: ComposeModel;
  /** The project's dso.yaml; it may be missing. */
  readonly dsoYaml: string;
  readonly docker: Docker;
  /** Compose's flags. */
  readonly flags: readonly Part[];
  readonly env: Environment;
  readonly userId: number | undefined;
  /** The name of a file in messages. */
  readonly nameOf: (path: string) => string;
  readonly options: MigrateOptions;
};

/** A migration that has changed nothing yet. */
export type PreparedMigration = {
  readonly plan: Plan;
  readonly target: Target;
  readonly chosen: ChosenStore;
  /** The secrets of Compose that move. */
  readonly mounts: readonly ServiceSecret[];
  /** What a person has to do. Safe to show. */
  readonly notes: readonly string[];
  /** The repository, or the project's directory. */
  readonly root: string;
};

/**
 * Reads an application, and says how it changes. It writes nothing.
 * @throws SecretError
 */
export async function prepareMigration(input: MigrationInput): Promise<PreparedMigration> {
  const { project, model, env, options, userId, nameOf } = input;
  checkOptions(options, model);
  const root = await findRoot(project.directory);
  const files = new Map<string, SourceFile | undefined>();
  const read = async (path: string, kind: SourceFile['kind']): Promise<SourceFile | undefined> => {
    if (!files.has(path)) files.set(path, await readSourceFile(path, nameOf(path), kind, root));
    return files.get(path);
  };
  const layers = await readLayers(project.files, project.directory, (path) =>
    read(path, 'compose'),
  );
  for (const file of files.values())
    if (file?.fault !== undefined && file.text === '')
      throw new SecretError(
        'INVALID_REQUEST',
        `${sanitizeUserText(file.name)} ${file.fault}, so nothing can be moved`,
        { hint: 'correct the file, or leave it out with -f' },
      );
  const dsoYaml = readProjectConfig(await read(input.dsoYaml, 'dso.yaml'));
  const chosen = chooseStore(options, dsoYaml.config, await readHostStores(env, userId));
  const target: Target = {
    type: chosen.type,
    ...(chosen.store !== undefined && { store: chosen.store }),
    prefix: options.prefix ?? projectOf(model),
    mount: options.mount,
  };

  const envFiles = new Map<string, SourceFile>();
  for (const path of servicesOf(model).flatMap(({ service }) => envFilesOf(layers, service))) {
    const file = await read(path, 'env');
    if (file !== undefined) envFiles.set(path, file);
  }
  const dotEnv: SourceFile[] = [];
  for (const path of project.envFiles) {
    const file = await read(path, 'env');
    if (file !== undefined) dotEnv.push(file);
  }

  const application = { model, layers, envFiles };
  const mapped = new Set(dsoYaml.config?.secrets.flatMap(({ mappings }) => [...mappings.values()]));
  const variables = new Set(options.variable);
  const ofVariables = findVariables(application, {
    ...{ variables, mapped },
    except: new Set(options.except),
  });
  const secrets = findComposeSecrets(model);
  const values = await readComposeSecrets(secrets, input.docker, input.flags, project.directory);
  const ofSecrets = findFiles(application, secrets, values, target.type);
  const others = secrets.filter((secret) => !ofSecrets.moved.includes(secret));
  const plan = makePlan({
    ...{ application, dotEnv, variables, target },
    found: [...ofVariables.found, ...ofSecrets.found],
    mounts: ofSecrets.moved,
    otherMounts: others,
    otherEdits: dsoYaml.edits,
  });
  const unreadable = [...new Set([...envFiles.values(), ...dotEnv])].flatMap(
    ({ name, text, fault }) =>
      fault !== undefined && text === ''
        ? [{ what: sanitizeUserText(name), reason: `it ${fault}` }]
        : [],
  );
  const left = [...unreadable, ...ofVariables.left, ...ofSecrets.left, ...plan.left];
  const kept = new Set(others.map(({ source }) => source));
  const sources = ofSecrets.moved.flatMap(({ source, from }) =>
    from.from === 'file' && !kept.has(source) ? [from.path] : [],
  );
  return {
    ...{ target, chosen, root },
    plan: { ...plan, left },
    mounts: ofSecrets.moved,
    notes: [
      ...dsoYaml.notes,
      ...[...new Set(sources)].map(
        (path) => `${sanitizeUserText(nameOf(path))} still has its value: remove it after the move`,
      ),
    ],
  };
}

/** The name of the project. */
export function projectOf({ name }: ComposeModel): string {
  return typeof name === 'string' ? name : '';
}

/** What is a part of references, and of commands for a shell. */
const pathElements = /^[A-Za-z0-9][\w-]*([./][A-Za-z0-9][\w-]*)*$/;

/** @throws SecretError INVALID_REQUEST also for a variable that no service has */
function checkOptions({ variable, prefix, mount }: MigrateOptions, model: ComposeModel): void {
  const names = new Set(
    servicesOf(model).flatMap(({ definition }) => Object.keys(objectOf(definition.environment))),
  );
  const unknown = variable.find((name) => !names.has(name));
  if (unknown !== undefined) {
    const nearest = nearestName(unknown, names);
    throw new SecretError(
      'INVALID_REQUEST',
      `no service has the variable ${sanitizeUserText(unknown)}`,
      { hint: nearest === undefined ? 'check --variable' : `did you mean ${nearest}?` },
    );
  }
  if (prefix !== undefined && !pathElements.test(prefix))
    throw new SecretError('INVALID_REQUEST', '--prefix is not the beginning of a path', {
      hint: 'use letters, digits, "-", "_" and "/"',
    });
  if (!pathElements.test(mount))
    throw new SecretError('INVALID_REQUEST', '--mount is not the path of an engine of Vault', {
      hint: 'use the path that vault secrets list shows, without the "/" at its end',
    });
}

type ProjectConfig = ReturnType<typeof convertOperatorConfig> & {
  readonly config?: DsoConfig;
};

function readProjectConfig(file: SourceFile | undefined): ProjectConfig {
  if (file === undefined) return { edits: [], notes: [] };
  const name = sanitizeUserText(file.name);
  if (file.fault !== undefined)
    throw new SecretError('INVALID_REQUEST', `${name} ${file.fault}`, {
      hint: 'correct it; docker dso lint shows all faults',
    });
  const { edits, notes } = convertOperatorConfig(file);
  const text = applyEdits(
    file.text,
    edits.map(({ edit }) => edit),
  );
  const { config, problems } = readDsoConfig(text, file.name, 'unknown');
  const faults = problems
    .filter(({ severity }) => severity === 'error')
    .map(({ message, hint, place }) => `${name} line ${place?.line ?? 1}: ${message}; ${hint}`);
  return { edits, notes: [...notes, ...faults], ...(config !== undefined && { config }) };
}
