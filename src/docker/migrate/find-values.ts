import { isUtf8 } from 'node:buffer';
import type { StoreType } from '../../core/host-store.ts';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { checkVariableName } from '../config/secret-name.ts';
import { type ComposeModel, objectOf, plainText } from '../model/compose-model.ts';
import { mentionsReference } from '../model/reference.ts';
import { servicesOf } from '../model/service.ts';
import { type Layers } from './compose-layers.ts';
import {
  type MountedSecret,
  type SecretSource,
  mountedSecrets,
  sourceOf,
} from './compose-secrets.ts';
import { interpolated } from './interpolation.ts';
import { type Place, findPlaces } from './places.ts';
import { hasSecretName, looksSecret } from './secret-names.ts';
import type { SourceFile } from './source-file.ts';

/** A value that moves to the store. */
export type FoundValue = {
  readonly service: string;
  /** The variable. */
  readonly name: string;
  /** `file`: the variable has the path of a file with the value. */
  readonly kind: 'variable' | 'file';
  readonly value: Redacted<Uint8Array>;
  /** What names its path: the variable of `${NAME}`, the secret of Compose, or the variable. */
  readonly key: string;
  readonly place: Place;
};

/** What stays as it is, and why. Both are safe to show. */
export type Left = { readonly what: string; readonly reason: string };

/** What is looked at. */
export type Application = {
  /** As Compose prints it, with all values. */
  readonly model: ComposeModel;
  readonly layers: Layers;
  /** The env files of services, by path. */
  readonly envFiles: ReadonlyMap<string, SourceFile>;
};

/** Which variables are secrets. */
export type Choice = {
  /** Also these, whatever their names. */
  readonly variables: ReadonlySet<string>;
  readonly except: ReadonlySet<string>;
  /** Those that dso.yaml fills. */
  readonly mapped: ReadonlySet<string>;
};

/** Finds the variables whose values are secrets. */
export function findVariables(
  { model, layers, envFiles }: Application,
  { variables, except, mapped }: Choice,
): { readonly found: readonly FoundValue[]; readonly left: readonly Left[] } {
  const found: FoundValue[] = [];
  const left: Left[] = [];
  for (const { service, definition } of servicesOf(model))
    for (const [name, printed] of Object.entries(objectOf(definition.environment))) {
      if (typeof printed !== 'string' || mentionsReference(printed)) continue;
      const value = plainText(printed);
      if (except.has(name)) continue;
      const [place, ...overridden] = findPlaces(layers, envFiles, service, name);
      const isSecret =
        variables.has(name) ||
        looksSecret(name, value) ||
        interpolated(place?.raw ?? '').some(hasSecretName);
      if (!isSecret) continue;
      const what = `${sanitizeUserText(name)} of service ${sanitizeUserText(service)}`;
      const leave = (reason: string): void => void left.push({ what, reason });
      const fault = checkVariableName(name);
      if (place?.isBare === true && mapped.has(name)) continue;
      if (value === '') {
        if (variables.has(name) || place?.raw?.includes('$') === true)
          leave('it has no value here; set it, and run the command again');
      } else if (definition.provider !== undefined)
        leave('a provider of Compose makes the service, and it can have no secrets');
      else if (fault !== undefined) leave(`its name ${fault}`);
      else if (place === undefined)
        leave('its place in the Compose files was not found; write the reference by hand');
      else if (place.file.fault !== undefined)
        leave(`${sanitizeUserText(place.file.name)} ${place.file.fault}`);
      else {
        const bytes = new Redacted<Uint8Array>(Buffer.from(value));
        const key = (place.isBare ? undefined : soleVariable(place.raw)) ?? name;
        found.push({ ...{ service, name, kind: 'variable', key, place }, value: bytes });
        for (const { file } of overridden.filter(hasOwnValue))
          if (file.path !== place.file.path || file.kind === 'compose')
            leave(`${sanitizeUserText(file.name)} has another value of it, which is overridden`);
      }
    }
  return { found, left };
}

function hasOwnValue({ raw, isBare }: Place): boolean {
  return !isBare && raw !== '' && soleVariable(raw) === undefined && !mentionsReference(raw ?? '');
}

/** The variable of a text that is one interpolation: `NAME` of `${NAME:-default}`. */
function soleVariable(raw = ''): string | undefined {
  const [, braced, plain] =
    /^\$(?:\{([A-Za-z_]\w*)(?:[:?+-][^}]*)?\}|([A-Za-z_]\w*))$/.exec(raw) ?? [];
  return braced ?? plain;
}

/** A secret of Compose, with the service that mounts it. */
export type ServiceSecret = MountedSecret & {
  readonly service: string;
  readonly from: SecretSource;
};

/** The secrets of Compose that services mount. */
export function findComposeSecrets(model: ComposeModel): readonly ServiceSecret[] {
  const secrets = objectOf(model.secrets);
  return servicesOf(model).flatMap((service) =>
    mountedSecrets(service).map((mounted) => ({
      ...mounted,
      service: service.service,
      from: sourceOf(secrets, mounted.source),
    })),
  );
}

/**
 * Finds the variables that have the path of a secret of Compose.
 * @param type of the store that gets the values
 */
export function findFiles(
  { layers, envFiles }: Application,
  secrets: readonly ServiceSecret[],
  values: ReadonlyMap<string, Redacted<Uint8Array>>,
  type: StoreType,
): {
  readonly found: readonly FoundValue[];
  readonly moved: readonly ServiceSecret[];
  readonly left: readonly Left[];
} {
  const found: FoundValue[] = [];
  const moved: ServiceSecret[] = [];
  const left: Left[] = [];
  for (const secret of secrets) {
    const { service, source, variables, target, from } = secret;
    const what = `the secret ${sanitizeUserText(source)} of service ${sanitizeUserText(service)}`;
    const leave = (reason: string): void => void left.push({ what, reason });
    const value = values.get(source);
    const places = variables.flatMap((name) => {
      const [place] = findPlaces(layers, envFiles, service, name);
      return place === undefined || place.file.fault !== undefined ? [] : [{ name, place }];
    });
    if (from.from === 'engine')
      leave(
        `the engine never shows the value of ${sanitizeUserText(from.name)}; take it from where it was made, store it, and write dsofile://PATH into a variable`,
      );
    else if (value === undefined)
      leave('its value cannot be read here; store it, and write dsofile://PATH into a variable');
    else if (type !== 'local' && !isUtf8(value.reveal()))
      leave(
        `its value is not text in UTF-8, and the commands of ${type} take only text; leave it there, or move it to the local store`,
      );
    else if (variables.length === 0)
      leave(
        `no variable has its path ${sanitizeUserText(target)}; let one name the path of the file, and run the command again`,
      );
    else if (places.length < variables.length)
      leave('the place of its variable cannot be changed; write the reference by hand');
    else {
      moved.push(secret);
      if (secret.hasOwner)
        left.push({ what, reason: 'its owner and mode do not move; write inject into dso.yaml' });
      for (const { name, place } of places)
        found.push({ ...{ service, name, kind: 'file', key: source, place, value } });
    }
  }
  return { found, moved, left };
}
