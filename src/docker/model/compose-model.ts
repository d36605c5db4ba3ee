import type { JsonValue } from '../../formats/json.ts';

/** An object of JSON. */
export type JsonObject = Readonly<Record<string, JsonValue>>;

/** What `docker compose config --format json` prints. Inactive profiles are not in it. */
export type ComposeModel = JsonObject;

/** What the engine says about an image, as `Config` of `GET /images/NAME/json` has it. */
export type ImageFacts = {
  readonly entrypoint?: readonly string[];
  readonly cmd?: readonly string[];
  /** `PATH` of `Env`. */
  readonly path?: string;
  /** `Healthcheck.Test`. */
  readonly healthcheck?: readonly string[];
  /** Runs `CMD-SHELL`; default `/bin/sh -c`. */
  readonly shell?: readonly string[];
  /** Directories for which each container gets a volume of its own: `VOLUME` of the image. */
  readonly volumes?: readonly string[];
  /** `Os`; default `linux`. */
  readonly os?: string;
};

/** The value if it is an object; otherwise an empty one. */
export function objectOf(value: JsonValue | undefined): JsonObject {
  return isObject(value) ? value : {};
}

/** Whether it is an object, and not a list or null. */
export function isObject(value: JsonValue | undefined): value is JsonObject {
  const tag = Object.prototype.toString.call(value);
  return tag === '[object Object]';
}

/** The value if it is a list; otherwise an empty one. */
export function listOf(value: JsonValue | undefined): readonly JsonValue[] {
  return Array.isArray(value) ? (value as readonly JsonValue[]) : [];
}

/** The texts of a list of texts; undefined for another value. */
export function textsOf(value: JsonValue | undefined): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.filter((item): item is string => typeof item === 'string');
}

/**
 * The text that a text of the model stands for. Compose doubles each `$` when it prints a model,
 * since it interpolates variables when it reads one.
 */
export function plainText(text: string): string {
  return text.replaceAll('$$', () => '$');
}

/** The opposite of {@link plainText}. */
export function modelText(text: string): string {
  return text.replaceAll('$', () => '$$');
}

/** The image of a service: a name of its own, or the one that Compose gives to what it builds. */
export function imageOf(project: string, service: string, definition: JsonObject): string {
  const { image } = definition;
  return typeof image === 'string' ? plainText(image) : `${project}-${service}`;
}
