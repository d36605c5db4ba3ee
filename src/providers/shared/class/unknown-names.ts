import type { Problem } from '../../../core/plan.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { nearestName, suggestName, unknownNameHint } from '../../../formats/suggest.ts';
import type { YamlMap } from '../../../formats/yaml-objects.ts';

/** The names that a provider knows. */
export type ClassNames = {
  readonly provider: string;
  readonly parameters: readonly string[];
  /** Keys of an item of `objects`. */
  readonly objectKeys: readonly string[];
  /** What to do where the provider has no name for a purpose. Default: remove the name. */
  readonly remedies?: Readonly<Partial<Record<Purpose, string>>>;
  /** Another provider that knows a name. */
  readonly otherProviderOf?: (name: string) => string | undefined;
};

/** What a name says. The values complete the sentence "it says ...". */
const purposes = {
  address: 'where the store is',
  region: 'in which region to read',
  project: 'in which project to read',
  namespace: 'in which namespace to read',
  account: 'with which identity to read',
  podIdentity: 'with which identity to read',
  authMethod: 'with which identity to read',
  mountPath: 'with which identity to read',
  audience: 'with which identity to read',
  issuer: 'with which identity to read',
  key: 'with which identity to read',
  role: 'with which role to read',
  mode: 'which mode a file gets',
};

type Purpose = keyof typeof purposes;

/** What to do where a provider has no name for a purpose, and no remedy of its own. */
const defaultRemedies: Readonly<Partial<Record<Purpose, string>>> = {
  account: 'remove it: the ServiceAccount of the pod counts',
  key: 'remove it: a class is no place for keys',
};

/**
 * The endings of the names that all vendors and their users have for a purpose, in lower case and
 * without `_` and `-`. The first ending that fits decides.
 */
const endings: Readonly<Record<Exclude<Purpose, 'mode'>, readonly string[]>> = {
  address: [
    ...['address', 'addresses', 'addr', 'endpoint', 'endpointurl', 'url'],
    ...['server', 'host', 'hostname'],
  ],
  region: ['region', 'regions', 'regionid', 'regionname'],
  project: ['projectid', 'projectname'],
  namespace: ['namespace', 'namespaces'],
  podIdentity: ['podidentity', 'podoidc', 'serviceaccounttoken', 'rrsa', 'irsa'],
  account: ['serviceaccount', 'serviceaccountname'],
  authMethod: ['authmethod', 'authtype'],
  mountPath: ['mountpath', 'mountpoint', 'authpath', 'authmount'],
  audience: ['audience', 'audiences'],
  issuer: ['providerurn', 'providerarn'],
  key: ['accesskey', 'accesskeyid', 'accesskeysecret', 'secretaccesskey', 'roleid', 'secretid'],
  role: ['role', 'rolename', 'rolearn', 'roleurn', 'agency', 'agencyname', 'agencyurn'],
};

/** Whole names: as endings they would match too much. */
const wholeNames: ReadonlyMap<string, Purpose> = new Map([
  ...[
    ...['mode', 'filemode', 'defaultmode', 'objectmode'],
    ...['permission', 'permissions', 'filepermission', 'filepermissions', 'objectpermission'],
  ].map((name) => [name, 'mode'] as const),
  ['auth', 'authMethod'],
  ['token', 'key'],
]);

/** Names of which one letter may be wrong. Shorter names have too many neighbours. */
const misspelt: readonly string[] = [
  ...['vaultaddress', 'openbaoaddress', 'baoaddress', 'kmsendpoint'],
  ...['region', 'failoverregion'],
  ...['namespace', 'vaultnamespace', 'openbaonamespace', 'baonamespace'],
  ...['usepodidentity', 'usepodoidc', 'usepodserviceaccounttoken', 'authmethod', 'audience'],
  ...['vaultauthmountpath', 'vaultkubernetesmountpath', 'openbaoauthmountpath'],
  ...['openbaokubernetesmountpath', 'baoauthmountpath', 'baokubernetesmountpath', 'providerurn'],
  ...['rolename', 'vaultrolename', 'openbaorolename', 'crossaccountrolearn', 'agencyurn'],
  'filepermission',
];

function purposeOf(name: string): Purpose | undefined {
  const folded = name.toLowerCase().replace(/[_-]/g, '');
  return namedPurpose(folded) ?? namedPurpose(nearestName(folded, misspelt, 1) ?? '');
}

function namedPurpose(folded: string): Purpose | undefined {
  const whole = wholeNames.get(folded);
  if (whole !== undefined) return whole;
  for (const [purpose, words] of Object.entries(endings))
    if (words.some((word) => folded.endsWith(word))) return purpose as Purpose;
  return undefined;
}

/**
 * Reports a parameter that the provider does not know. It is an error if it says where or with
 * which identity to read: without it, the mount would read elsewhere. Any other is a warning, and
 * so is an empty one, which says nothing.
 */
export function reportUnknownParameter(
  parameter: { readonly name: string; readonly text: string },
  names: ClassNames,
  report: (problem: Problem) => void,
): void {
  const { name, text } = parameter;
  const { provider, parameters } = names;
  const problem = { code: 'INVALID_CLASS', parameter: name } as const;
  const message = `the parameter ${sanitizeUserText(name)} is unknown to ${provider}`;
  const purpose = text.trim() === '' ? undefined : purposeOf(name);
  if (purpose !== undefined) {
    const error = `${message}, and it says ${purposes[purpose]}`;
    const hint = remedyFor(name, purpose, names, parameters);
    report({ ...problem, severity: 'error', message: error, hint });
    return;
  }
  const hint = unknownNameHint(name, parameters);
  report({ ...problem, severity: 'warning', message, hint });
}

/**
 * Reports the keys of a map in `objects` that are not among `keys`, by the same rule as
 * {@link reportUnknownParameter}.
 */
export function reportUnknownKeys(map: YamlMap, keys: readonly string[], names: ClassNames): void {
  map.reportUnknown(keys, (key) => {
    const purpose = purposeOf(key);
    return (
      purpose && {
        problem: `, which says ${purposes[purpose]}`,
        hint: remedyFor(key, purpose, names, keys),
      }
    );
  });
}

/** @param here the known names in the place of `name` */
function remedyFor(
  name: string,
  purpose: Purpose,
  { parameters, objectKeys, remedies = {}, otherProviderOf }: ClassNames,
  here: readonly string[],
): string {
  const hereText = spellingsOf(name, purpose, here);
  const other = otherProviderOf?.(name);
  const otherText = other === undefined ? '' : `provider: ${other}, or `;
  if (hereText !== undefined) return `write ${otherText}${hereText}`;
  const keyText = spellingsOf(name, purpose, objectKeys);
  if (keyText !== undefined) return `write ${keyText} in the object`;
  const parameterText = spellingsOf(name, purpose, parameters);
  if (parameterText !== undefined) return `write the parameter ${parameterText} of the class`;
  return remedies[purpose] ?? defaultRemedies[purpose] ?? 'remove it';
}

/** The known name that is meant, or all that are possible; undefined if there is no such name. */
function spellingsOf(
  name: string,
  purpose: Purpose,
  knownNames: readonly string[],
): string | undefined {
  const candidates = knownNames.filter((known) => purposeOf(known) === purpose);
  if (candidates.length === 0) return undefined;
  return suggestName(name, candidates) ?? candidates.join(' or ');
}
