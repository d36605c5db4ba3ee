import * as z from 'zod';
import { duration, fileMode, id, text, truth, userMap } from './scalars.ts';
import { checkSecretPath, checkVariableName, storeNamePattern } from './secret-name.ts';
import { flatStoreShape, storeSchema } from './store-schema.ts';
import { type Inject, type Rotation, rotationStrategies } from './types.ts';

const storeName = text.regex(storeNamePattern, 'must be letters, digits, "-" and "_", at most 63');
const secretPath = checkedText(checkSecretPath);
const variableName = checkedText(checkVariableName);

/** `type` of {@link Inject}. */
const injectType = z.enum(['env', 'file'], 'must be env or file');

/** `inject: file` is short for `inject: {type: file}`. */
const inject = z.preprocess(
  (value) => (typeof value === 'string' ? { type: value } : value),
  z
    .strictObject({
      type: injectType,
      path: text.optional(),
      uid: id.optional(),
      gid: id.optional(),
      mode: fileMode.optional(),
    })
    .transform(({ type, path, ...owner }, context): Inject => {
      if (type === 'file')
        return { type, ...(path && { path: filePath(path, context) }), ...owner };
      if (path !== undefined || Object.keys(owner).length > 0)
        context.addIssue('has path, uid, gid or mode, which only type: file has');
      return { type };
    }),
);

/** Files lie in one directory. */
function filePath(path: string, context: z.core.$RefinementCtx): string {
  const relative = path.replace(/^\/run\/secrets\/dso\//, '');
  const problem = relative.startsWith('/') ? 'must be below /run/secrets/dso' : undefined;
  const fault = problem ?? checkSecretPath(relative);
  if (fault !== undefined) context.addIssue({ code: 'custom', path: ['path'], message: fault });
  return relative;
}

const strategy = z.enum(rotationStrategies, `must be one of ${rotationStrategies.join(', ')}`);
const signalName = text.regex(/^SIG[A-Z0-9]{2,10}$/, 'must be a signal such as SIGHUP');
const strategyShape = { signal: signalName.optional(), grace: duration.optional() };

/** `rotation: true` is short for `rotation: {enabled: true}`. */
const rotation = z.preprocess(
  (value) => (typeof value === 'string' ? { enabled: value } : value),
  z.strictObject({
    enabled: truth.optional(),
    strategy: strategy.optional(),
    ...strategyShape,
  }),
);

/** The flat form has the strategy of a rotation beside it. */
const reloadStrategy = z.strictObject({ type: strategy.optional(), ...strategyShape });

const secret = z
  .strictObject({
    name: secretPath,
    provider: storeName.optional(),
    inject: inject.optional(),
    rotation: rotation.optional(),
    reload_strategy: reloadStrategy.optional(),
    targets: z
      .strictObject({
        containers: z.array(text, 'must be a list').optional(),
        labels: userMap(z.string(), text).optional(),
      })
      .optional(),
    mappings: userMap(z.string(), variableName).optional(),
  })
  .transform(({ rotation: whether, reload_strategy: how, ...entry }, context) => {
    if (whether?.strategy !== undefined && how?.type !== undefined)
      context.addIssue({
        ...{ code: 'custom', path: ['reload_strategy'] },
        message: 'and rotation.strategy are both set; write rotation.strategy alone',
      });
    const { type, ...details } = how ?? {};
    const given = { ...details, ...(type && { strategy: type }), ...whether };
    return { ...entry, rotation: whether || how ? toRotation(given) : undefined };
  });

function toRotation({
  enabled = true,
  strategy: chosen = 'auto',
  signal,
  grace,
}: z.output<typeof rotation>): Rotation {
  const sent = signal ?? (chosen === 'signal' ? 'SIGHUP' : undefined);
  return {
    ...{ enabled, strategy: chosen },
    ...(sent !== undefined && { signal: sent }),
    ...(grace !== undefined && { graceMs: grace }),
  };
}

const globs = z.array(text, 'must be a list').min(1, 'must not be empty');

/** What applications may read. `projects` and `paths` are required, so that none is forgotten. */
const grant = z.strictObject({
  projects: globs,
  services: globs.optional(),
  stores: globs.optional(),
  paths: globs,
});

const shortest = 30_000;
const longest = 300_000;

/** dso.yaml in both of its forms, with all scalars as text: see `textTree`. */
export const fileSchema = z.strictObject({
  provider: text.optional(),
  ...flatStoreShape,
  providers: userMap(storeName, storeSchema).optional(),
  secrets: z.array(secret, 'must be a list').optional(),
  defaults: z
    .strictObject({
      provider: storeName.optional(),
      inject: inject.optional(),
      rotation: rotation.transform(toRotation).optional(),
    })
    .optional(),
  agent: z
    .strictObject({
      cache: z
        .literal('true', 'can only be true: the agent always keeps secrets in memory')
        .optional(),
      watch: z
        .strictObject({
          mode: z.literal('polling', 'can only be polling').optional(),
          polling_interval: duration
            .refine((ms) => ms >= shortest && ms <= longest, 'must be from 30s to 5m')
            .optional(),
        })
        .optional(),
      grants: z.array(grant, 'must be a list').optional(),
    })
    .optional(),
  exec: z.enum(['on', 'off'], 'must be on or off').optional(),
  runtime: z.enum(['on', 'off'], 'must be on or off').optional(),
});

/** What {@link fileSchema} returns. */
export type DsoFile = z.output<typeof fileSchema>;

function checkedText(check: (value: string) => string | undefined): z.ZodType<string, string> {
  return text.check(({ value, issues }) => {
    const fault = check(value);
    if (fault !== undefined) issues.push({ code: 'custom', input: value, message: fault });
  });
}
