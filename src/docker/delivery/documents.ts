import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { storeTypes } from '../../core/host-store.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { checkFilePath, findPathClash } from '../../formats/file-path.ts';
import type { ProjectRegistration, RefreshRequest } from '../agent-api.ts';
import {
  checkField,
  checkSecretPath,
  checkVariableName,
  storeNamePattern,
} from '../config/secret-name.ts';
import { rotationStrategies } from '../config/types.ts';
import { maxServices } from '../model/checks.ts';
import { maxSecrets } from '../model/injection.ts';
import { projectPattern, servicePattern } from '../model/volumes.ts';
import { keyPath } from '../problem.ts';

const projectName = z.string().regex(projectPattern, 'is not the name of a project');
const serviceName = z.string().regex(servicePattern, 'is not the name of a service');
const storeName = z.string().regex(storeNamePattern, 'is not the name of a store');
const secretPath = checked(checkSecretPath);
/** Shown in logs and metrics. */
const word = z.string().regex(/^[!-~]{1,512}$/, 'must be at most 512 printable characters');

const ref = z.strictObject({
  provider: storeName.optional(),
  path: secretPath,
  field: checked(checkField).optional(),
  orWhole: z.literal(true).optional(),
});
const id = z.int().min(0).max(999_999_999);

const rotation = z.strictObject({
  enabled: z.boolean(),
  strategy: z.enum(rotationStrategies),
  signal: word.optional(),
  graceMs: z.number().min(0).optional(),
});

const injection = z
  .strictObject({
    project: projectName,
    service: serviceName,
    variables: z.array(z.strictObject({ name: checked(checkVariableName), ref })).max(maxSecrets),
    files: z
      .array(
        z.strictObject({
          path: checked(checkFilePath),
          ref,
          mode: z.int().min(0).max(0o777).optional(),
          uid: id.optional(),
          gid: id.optional(),
          variable: checked(checkVariableName).optional(),
        }),
      )
      .max(maxSecrets),
    exec: z.enum(['on', 'off']),
    rotation: rotation.optional(),
  })
  .check(({ value: { variables, files }, issues }) => {
    const report = (path: string, message: string): void =>
      void issues.push({ code: 'custom', input: path, path: [path], message });
    const names = [
      ...variables.map(({ name }) => name),
      ...files.flatMap(({ variable }) => variable ?? []),
    ];
    if (new Set(names).size < names.length) report('variables', 'has a name twice');
    if (findPathClash(new Set(files.map(({ path }) => path))) !== undefined)
      report('files', 'has a file below another file');
    const secretOf = ({ ref: { provider, path, field } }: (typeof files)[number]): string =>
      JSON.stringify([provider, path, field]);
    const secrets = new Map(files.map((file) => [file.path, secretOf(file)]));
    if (files.some((file) => secrets.get(file.path) !== secretOf(file)))
      report('files', 'has two secrets for one path');
  });

const projectStore = z.strictObject({
  type: z.enum(storeTypes),
  region: word.optional(),
  projectId: word.optional(),
  endpoint: word.optional(),
  roleArn: word.optional(),
  addresses: z.array(word).max(20).optional(),
  namespace: word.optional(),
  tlsServerName: word.optional(),
});

const services = z
  .array(injection)
  .max(maxServices)
  .refine(
    (list) => new Set(list.map(({ service }) => service)).size === list.length,
    'has a service twice',
  );
const stores = z.record(storeName, projectStore);
const directory = z.string().regex(/^\//, 'is not absolute').max(4_096).optional();
const registration = z.strictObject({
  ...{ services, stores, directory },
  isNamed: z.boolean().optional(),
});

/** Reads the body of `PUT /v1/projects/NAME`. @throws SecretError INVALID_REQUEST */
export function readRegistration(json: unknown, project: string): ProjectRegistration {
  const value = parse(registration, json, 'the registration');
  parse(projectName, project, 'the project');
  if (value.services.some((service) => service.project !== project))
    throw invalid('the registration', 'it has services of another project');
  return value as ProjectRegistration;
}

/** Reads the body of `POST /v1/refresh`. @throws SecretError INVALID_REQUEST */
export function readRefreshRequest(json: unknown): RefreshRequest {
  const schema = z.strictObject({ store: storeName.optional(), path: secretPath });
  return parse(schema, json, 'the request') as RefreshRequest;
}

/** What the agent remembers of a project: names and references only. */
export type ProjectDocument = Omit<ProjectRegistration, 'isNamed'> & {
  /** Services that are no longer asked for, and whose containers may still exist. */
  readonly former: ProjectRegistration['services'];
};

const projectDocument = z.strictObject({ services, former: services, stores, directory });

/** @throws Error for a document that is not valid */
export function readProjectDocument(json: unknown): ProjectDocument {
  return projectDocument.parse(json) as ProjectDocument;
}

function parse<T>(schema: z.ZodType<T>, json: unknown, what: string): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = keyPath(issue?.path ?? []);
  throw invalid(what, `${where} ${sanitizeUserText(issue?.message ?? '')}`.trim());
}

function invalid(what: string, problem: string): SecretError {
  return new SecretError('INVALID_REQUEST', `${what} is not valid: ${problem}`, {
    hint: 'check that docker dso and the agent have the same version',
  });
}

function checked(check: (value: string) => string | undefined): z.ZodType<string, string> {
  return z.string().check(({ value, issues }) => {
    const fault = check(value);
    if (fault !== undefined) issues.push({ code: 'custom', input: value, message: fault });
  });
}
