import * as z from 'zod';

/** The annotation of a ServiceAccount that lists the secrets its pods may use: a JSON array of names, as a string. */
export const annotationName = 'cce.io/dew-resource';

const names = z.array(z.string());

/** The names an annotation lists; none where it is missing or not what it should be, with the reason. */
export function readAnnotation(text: string | undefined): {
  readonly names: ReadonlySet<string>;
  readonly fault?: string;
} {
  if (text === undefined) return { names: new Set(), fault: 'is missing' };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { names: new Set(), fault: 'is not JSON' };
  }
  const result = names.safeParse(value);
  if (!result.success) return { names: new Set(), fault: 'is not a JSON array of strings' };
  return { names: new Set(result.data) };
}

/**
 * The line that grants `wanted` beside what is granted already, as it has to stand in the ServiceAccount. Names that CSMS does not allow
 * grant nothing and are left out.
 */
export function annotationLine(granted: Iterable<string>, wanted: readonly string[]): string {
  const all = new Set([...granted, ...wanted].filter((name) => /^[a-zA-Z0-9_.-]{1,64}$/.test(name)));
  return `${annotationName}: '${JSON.stringify([...all])}'`;
}
