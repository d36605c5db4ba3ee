import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { runtimeName } from '../model/runtime.ts';

type Settings = Record<string, unknown>;

/** What the engine's configuration says of the runtime `dso`. */
export type RuntimeEntry = {
  /** Its program; undefined: the configuration has no such runtime. */
  readonly program: string | undefined;
  /** Containers that name no runtime get it. */
  readonly isDefault: boolean;
};

/**
 * Reads the engine's configuration.
 * @param file its name in errors
 * @throws SecretError NOT_CONFIGURED if it is not valid
 */
export function readRuntime(text: string, file: string): RuntimeEntry {
  const settings = parse(text, file);
  const { path } = asObject(runtimesOf(settings, file)[runtimeName]);
  return {
    program: typeof path === 'string' ? path : undefined,
    isDefault: settings['default-runtime'] === runtimeName,
  };
}

/**
 * The engine's configuration with the runtime. All else stays, in its order.
 * @throws SecretError NOT_CONFIGURED if it is not valid, or has another runtime of this name
 */
export function withRuntime(text: string, file: string, program: string): string {
  const settings = parse(text, file);
  const runtimes = runtimesOf(settings, file);
  const present = asObject(runtimes[runtimeName]);
  if (Object.hasOwn(runtimes, runtimeName) && present.path !== program)
    throw new SecretError(
      'NOT_CONFIGURED',
      `${sanitizeUserText(file)} has another runtime with the name ${runtimeName}`,
      { hint: 'remove it from runtimes, or give it another name' },
    );
  settings.runtimes = { ...runtimes, [runtimeName]: { ...present, path: program } };
  return format(settings, text);
}

/**
 * The engine's configuration without the runtime.
 * @returns `reloaded`: what an engine that runs must read, because one without the key `runtimes`
 *   keeps those that it has; `after`: what is left then, empty if nothing is
 * @throws SecretError NOT_CONFIGURED if it is not valid
 */
export function withoutRuntime(
  text: string,
  file: string,
): { readonly reloaded: string; readonly after: string } {
  const settings = parse(text, file);
  const others = Object.fromEntries(
    Object.entries(runtimesOf(settings, file)).filter(([name]) => name !== runtimeName),
  );
  const reloaded = format({ ...settings, runtimes: others }, text);
  if (Object.keys(others).length > 0) return { reloaded, after: reloaded };
  delete settings.runtimes;
  return { reloaded, after: Object.keys(settings).length === 0 ? '' : format(settings, text) };
}

function parse(text: string, file: string): Settings {
  try {
    const value: unknown = text.trim() === '' ? {} : JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // The message of the parser quotes the file.
  }
  throw new SecretError('NOT_CONFIGURED', `${sanitizeUserText(file)} is not a JSON object`, {
    hint: 'correct it: Docker cannot start with it either',
  });
}

function runtimesOf(settings: Settings, file: string): Settings {
  const { runtimes = {} } = settings;
  if (isObject(runtimes)) return runtimes;
  throw new SecretError(
    'NOT_CONFIGURED',
    `runtimes of ${sanitizeUserText(file)} is not an object`,
    {
      hint: 'correct it: Docker cannot start with it either',
    },
  );
}

/** With the indentation that the text has. */
function format(settings: Settings, text: string): string {
  const [, indentation = '  '] = /^\{\n([ \t]+)/.exec(text.trimStart()) ?? [];
  return `${JSON.stringify(settings, null, indentation)}\n`;
}

function asObject(value: unknown): Settings {
  return isObject(value) ? value : {};
}

function isObject(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
