import { type StoreConfig, type StoreType, storeTypes } from '../../core/host-store.ts';
import type * as z from 'zod';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { nearestName } from '../../formats/suggest.ts';
import { type Position, type YamlNode, nodeAt } from '../../formats/yaml-tree.ts';
import { readYamlDocument } from '../../formats/yaml.ts';
import { type DsoProblem, keyPath, limitProblems } from '../problem.ts';
import { type HostDefaults, defaultPollingMs, noDefaults } from './defaults.ts';
import { keysAt } from './known-keys.ts';
import { textTree } from './scalars.ts';
import { type DsoFile, fileSchema } from './schema.ts';
import { hasUserInfo, toStore } from './store-schema.ts';
import type { DsoConfig, SecretConfig } from './types.ts';

/** The result of {@link readDsoConfig}: a configuration if no problem is an error. */
export type DsoConfigResult = {
  readonly config?: DsoConfig;
  readonly problems: readonly DsoProblem[];
};

const maxCharacters = 1_048_576;

type Report = (
  severity: DsoProblem['severity'],
  path: readonly PropertyKey[],
  message: string,
  hint: string,
) => void;

/**
 * Reads dso.yaml: the flat form with one `provider`, or the form with `providers`. Never throws:
 * it reports all problems with their lines. An empty text is the default configuration.
 * @param file its name in problems
 * @param host what the host gives; `unknown`: stores that the text does not describe may be its
 */
export function readDsoConfig(
  text: string,
  file: string,
  host: HostDefaults | 'unknown' = noDefaults,
): DsoConfigResult {
  const problems: DsoProblem[] = [];
  const add = (
    severity: DsoProblem['severity'],
    at: Position,
    problem: Pick<DsoProblem, 'message' | 'hint' | 'where'>,
  ): void => {
    const place = { file, line: at.line, column: at.column };
    problems.push({ severity, code: 'INVALID_CONFIGURATION', ...problem, place });
  };
  const start = { line: 1, column: 1 };
  if (text.length > maxCharacters) {
    const hint = 'check that it is the right file';
    add('error', start, { message: 'the file has more than 1 MiB', hint, where: '' });
    return { problems };
  }
  const document = readYamlDocument(text);
  for (const { at, kind, message, hint, firstLine } of document.problems)
    add('error', at, {
      message: kind === 'syntax' ? `not YAML: ${message}` : message,
      hint: yamlHint(kind, hint, firstLine),
      where: '',
    });
  if (problems.length > 0) return { problems: limitProblems(problems) };

  const report: Report = (severity, path, message, hint) =>
    add(severity, positionOf(document.root, path), { message, hint, where: keyPath(path) });
  const parsed = fileSchema.safeParse(textTree(document.root) ?? {});
  const config = parsed.success ? toConfig(parsed.data, host, report) : undefined;
  for (const issue of parsed.error?.issues ?? []) reportIssue(issue, document.root, report);
  const hasError = problems.some(({ severity }) => severity === 'error');
  const limited = limitProblems(problems);
  return hasError || config === undefined ? { problems: limited } : { config, problems: limited };
}

function yamlHint(kind: string, hint: string | undefined, firstLine: number | undefined): string {
  if (firstLine !== undefined) return `remove one of them; the first is in line ${firstLine}`;
  if (kind === 'limit') return 'make the file smaller or flatter';
  return hint ?? 'check indentation and quotes there';
}

function reportIssue(issue: z.core.$ZodIssue, root: YamlNode | undefined, report: Report): void {
  const { path } = issue;
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(fileSchema, path);
    for (const key of issue.keys) {
      const nearest = nearestName(key, known);
      const hint =
        nearest === undefined
          ? `the keys there are ${known.join(', ')}`
          : `did you mean ${nearest}?`;
      report('error', [...path, key], `unknown key: ${keyPath([...path, key])}`, hint);
    }
    return;
  }
  const name = path.length === 0 ? 'the file' : keyPath(path);
  const isMissing = path.length > 0 && nodeAt(root, path) === undefined;
  // A shorthand such as `inject: files` has no key `type` of its own.
  const short = nodeAt(root, path.slice(0, -1));
  if (isMissing && short?.kind === 'scalar') {
    const parent = keyPath(path.slice(0, -1));
    report('error', path, `${parent} ${messageOf(issue)}`, writtenHint(short, path));
  } else if (isMissing)
    report('error', path, `${name} is missing`, `write ${keyPath(path.slice(-1))}`);
  else report('error', path, `${name} ${messageOf(issue)}`, writtenHint(nodeAt(root, path), path));
}

/** Messages of our own schemas read as words that follow the key. */
function messageOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_key') return issue.issues[0]?.message ?? 'is not a valid name';
  return issue.message.startsWith('Invalid input') ? 'must be a map' : issue.message;
}

/** Shows the value, unless it is, or can be, a credential in the wrong place. */
function writtenHint(node: YamlNode | undefined, path: readonly PropertyKey[]): string {
  if (node?.kind !== 'scalar' || path.includes('auth') || hasUserInfo(node.text))
    return 'docs/docker/dso-yaml.md describes every key';
  return `it is ${sanitizeUserText(node.text)}; docs/docker/dso-yaml.md describes every key`;
}

/** The position of a key; that of the nearest node above, if the key is missing. */
function positionOf(root: YamlNode | undefined, path: readonly PropertyKey[]): Position {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = nodeAt(root, path.slice(0, length - 1));
    const key = path[length - 1];
    if (parent?.kind === 'map') {
      const entry = parent.entries.find((candidate) => candidate.key === key);
      if (entry !== undefined) return entry.at;
    }
    const item = nodeAt(parent, key === undefined ? [] : [key]);
    if (item !== undefined) return item.at;
  }
  return root?.at ?? { line: 1, column: 1 };
}

function toConfig(file: DsoFile, host: HostDefaults | 'unknown', report: Report): DsoConfig {
  const own = readProviders(file, report);
  const given = host === 'unknown' ? noDefaults : host;
  const providers = own.size > 0 ? own : given.stores;
  const isUnknown = host === 'unknown' && own.size === 0;
  const checkName = (name: string | undefined, path: readonly PropertyKey[]): void => {
    if (name === undefined || isUnknown || providers.has(name)) return;
    const nearest = nearestName(name, providers.keys());
    const names = [...providers.keys()].join(', ');
    const advice = nearest === undefined ? `the names are ${names}` : `did you mean ${nearest}?`;
    const hint = providers.size === 0 ? 'describe it under providers' : advice;
    report('error', path, `there is no provider ${sanitizeUserText(name)}`, hint);
  };
  checkName(file.defaults?.provider, ['defaults', 'provider']);
  for (const [name, { fallback }] of own) {
    const path = ['providers', name, 'fallback'];
    if (fallback !== name) checkName(fallback, path);
    else report('error', path, `${name} cannot be its own fallback`, 'name another provider');
  }
  const [only, ...others] = providers.keys();
  const fallback = own.size > 0 ? undefined : given.defaultStore;
  const provider = file.defaults?.provider ?? fallback ?? (others.length === 0 ? only : undefined);
  const rotation = file.defaults?.rotation;
  const secrets = (file.secrets ?? []).map((secret, index): SecretConfig => {
    checkName(secret.provider, ['secrets', index, 'provider']);
    const store = secret.provider ?? provider;
    if (store === undefined && providers.size > 0)
      report(
        ...(['error', ['secrets', index]] as const),
        `the secret ${sanitizeUserText(secret.name)} names no provider, and there are several`,
        'write provider: NAME in it, or defaults.provider',
      );
    const { containers = [], labels = {} } = secret.targets ?? {};
    const targets = { containers, labels: new Map(Object.entries(labels)) };
    return {
      name: secret.name,
      ...(store !== undefined && { provider: store }),
      inject: secret.inject ?? file.defaults?.inject ?? { type: 'env' },
      ...(secret.rotation && { rotation: secret.rotation }),
      ...(containers.length + targets.labels.size > 0 && { targets }),
      mappings: new Map(Object.entries(secret.mappings ?? {})),
    };
  });
  return {
    ...{ providers, secrets },
    defaults: { ...(provider !== undefined && { provider }), ...(rotation && { rotation }) },
    agent: {
      watch: { pollingIntervalMs: file.agent?.watch?.polling_interval ?? defaultPollingMs },
      ...(file.agent?.grants && { grants: file.agent.grants }),
    },
    exec: file.exec ?? given.exec,
    runtime: file.runtime ?? given.runtime,
  };
}

function readProviders(file: DsoFile, report: Report): ReadonlyMap<string, StoreConfig> {
  const providers = new Map(Object.entries(file.providers ?? {}));
  const flat = (['provider', 'config', 'auth'] as const).filter((key) => file[key] !== undefined);
  if (file.providers !== undefined)
    for (const key of flat)
      report(
        'error',
        [key],
        `${key} and providers are both set`,
        key === 'provider'
          ? 'write defaults.provider for the store of references that name none'
          : `move ${key} to its provider`,
      );
  else if (file.provider !== undefined) {
    const store = readFlatStore(file, file.provider, report);
    if (store !== undefined) providers.set(file.provider, store);
  } else
    for (const key of flat)
      report('error', [key], `${key} has no provider`, `write provider: ${storeTypes.join(' | ')}`);
  for (const [name, { auth }] of providers) {
    const path = file.providers === undefined ? ['auth'] : ['providers', name, 'auth'];
    for (const credential of auth?.credentials.keys() ?? [])
      report(
        'warning',
        [...path, 'params', credential],
        `${credential} stands in the file in plain text`,
        `write ${credential}_file, the path of a file with mode 0600; docker dso init makes both`,
      );
  }
  return providers;
}

function readFlatStore(
  { config, auth }: DsoFile,
  type: string,
  report: Report,
): StoreConfig | undefined {
  if (!isStoreType(type)) {
    const nearest = nearestName(type, storeTypes);
    const names = `the providers are ${storeTypes.join(', ')}`;
    const hint = nearest === undefined ? names : `did you mean ${nearest}?`;
    report('error', ['provider'], `there is no provider ${sanitizeUserText(type)}`, hint);
    return undefined;
  }
  return toStore({ type, config, auth }, (path, message) =>
    report('error', path, `${keyPath(path)} ${message}`, 'docs/docker/dso-yaml.md has an example'),
  );
}

function isStoreType(text: string): text is StoreType {
  return (storeTypes as readonly string[]).includes(text);
}
