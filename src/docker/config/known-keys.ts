import * as z from 'zod';

/**
 * The keys that a schema has at a path of a document; none where it has no map with fixed keys.
 * @param path keys and indexes
 */
export function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): readonly string[] {
  const [step, ...rest] = path;
  const part = unwrap(schema);
  if (part instanceof z.ZodObject) {
    const shape = part.shape as Readonly<Record<string, z.core.$ZodType>>;
    if (step === undefined) return Object.keys(shape);
    const inner = Object.hasOwn(shape, step) ? shape[String(step)] : undefined;
    return inner === undefined ? [] : keysAt(inner, rest);
  }
  if (step === undefined) return [];
  if (part instanceof z.ZodArray) return keysAt(part.element, rest);
  return part instanceof z.ZodRecord ? keysAt(part.valueType, rest) : [];
}

/** Removes what stands around a schema: optional, transformed, preprocessed. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodOptional) return unwrap(schema.unwrap());
  if (!(schema instanceof z.ZodPipe)) return schema;
  const isBefore = schema.in instanceof z.ZodTransform || schema.in instanceof z.ZodCustom;
  return unwrap(isBefore ? schema.out : schema.in);
}
