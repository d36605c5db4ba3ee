import { SecretError } from '../../core/errors.ts';
import type { PluginFields, PluginInterface } from './plugin-protocol.ts';

/** A secret that the manager of a swarm asks for, for one task. */
export type SwarmRequest = {
  /** The name of the secret in the swarm. */
  readonly secret: string;
  readonly secretLabels: ReadonlyMap<string, string>;
  /** With the name of its stack before it, if it is of a stack. */
  readonly service: string;
  readonly serviceLabels: ReadonlyMap<string, string>;
  /** The name of the task: `SERVICE.SLOT.ID`. */
  readonly task: string;
};

/** Reads the value of a secret. @throws SecretError */
export type ReadSwarmSecret = (request: SwarmRequest, signal: AbortSignal) => Promise<Uint8Array>;

/**
 * The interface `docker.secretprovider/1.0`. It has no specification beside its source:
 * https://github.com/moby/swarmkit/blob/master/manager/drivers/secrets.go.
 */
export function secretProvider(read: ReadSwarmSecret): PluginInterface {
  return {
    name: 'secretprovider',
    methods: {
      '/SecretProvider.GetSecret': async (fields, signal) => ({
        Value: Buffer.from(await read(requestOf(fields), signal)).toString('base64'),
        // The manager asks again for each task, so that a new task has the current value.
        DoNotReuse: true,
      }),
    },
  };
}

function requestOf(fields: PluginFields): SwarmRequest {
  return {
    secret: nameOf(fields, 'SecretName'),
    secretLabels: labelsOf(fields, 'SecretLabels'),
    service: nameOf(fields, 'ServiceName'),
    serviceLabels: labelsOf(fields, 'ServiceLabels'),
    task: nameOf(fields, 'TaskName'),
  };
}

/** The names that Swarm gives to secrets, services and tasks. */
function nameOf(fields: PluginFields, key: string): string {
  const name = fields[key];
  if (typeof name === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/.test(name)) return name;
  throw invalid(key);
}

function labelsOf(fields: PluginFields, key: string): ReadonlyMap<string, string> {
  const { [key]: labels = {} } = fields;
  if (typeof labels !== 'object' || labels === null || Array.isArray(labels)) throw invalid(key);
  return new Map(
    Object.entries(labels).map(([name, value]: [string, unknown]) => {
      if (typeof value !== 'string') throw invalid(key);
      return [name, value];
    }),
  );
}

function invalid(key: string): SecretError {
  return new SecretError('INVALID_REQUEST', `the request has no valid ${key}`, {
    hint: 'only a container engine should call this socket',
  });
}
