import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText, statusText } from '../../core/safe-text.ts';
import { isVolumeName } from '../model/volumes.ts';
import type { Handle, JsonResponse } from './json-server.ts';

/** What the engine asks a volume driver for. Only `mount` reads a store. */
export type VolumeActions = {
  create(name: string): Promise<void>;
  remove(name: string): Promise<void>;
  list(): readonly string[];
  has(name: string): boolean;
  /** The directory of a volume. */
  pathOf(name: string): string;
  /** @returns the directory of the volume */
  mount(name: string, id: string, signal: AbortSignal): Promise<string>;
  unmount(name: string, id: string): Promise<void>;
};

/** The media type of the protocol: https://docs.docker.com/engine/extend/plugin_api/. */
export const pluginContentType = 'application/vnd.docker.plugins.v1.2+json';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Serves the protocol of volume drivers:
 * https://docs.docker.com/engine/extend/plugins_volume/#volume-plugin-protocol.
 * The engine shows the text of `Err` to the user.
 */
export function createVolumeDriver(actions: VolumeActions): Handle {
  const volume = (name: string) => ({ Name: name, Mountpoint: actions.pathOf(name) });
  const methods: Readonly<
    Record<string, (fields: Fields, signal: AbortSignal) => Promise<object> | object>
  > = {
    '/Plugin.Activate': () => ({ Implements: ['VolumeDriver'] }),
    '/VolumeDriver.Capabilities': () => ({ Capabilities: { Scope: 'local' } }),
    '/VolumeDriver.Create': async (fields) => {
      const name = nameOf(fields);
      const { Opts: options } = fields;
      if (typeof options === 'object' && options !== null && Object.keys(options).length > 0)
        throw new SecretError('INVALID_REQUEST', 'a volume of dso has no options', {
          hint: 'remove driver_opts; docker dso up makes the volumes by itself',
        });
      await actions.create(name);
      return {};
    },
    '/VolumeDriver.Remove': async (fields) => {
      await actions.remove(nameOf(fields));
      return {};
    },
    '/VolumeDriver.Get': (fields) => ({ Volume: volume(existing(fields)) }),
    '/VolumeDriver.Path': (fields) => ({ Mountpoint: actions.pathOf(existing(fields)) }),
    '/VolumeDriver.List': () => ({ Volumes: actions.list().map(volume) }),
    '/VolumeDriver.Mount': async (fields, signal) => ({
      Mountpoint: await actions.mount(nameOf(fields), idOf(fields), signal),
    }),
    '/VolumeDriver.Unmount': async (fields) => {
      await actions.unmount(nameOf(fields), idOf(fields));
      return {};
    },
  };

  function existing(fields: Fields): string {
    const name = nameOf(fields);
    if (actions.has(name)) return name;
    throw new SecretError('OBJECT_NOT_FOUND', `there is no volume ${sanitizeUserText(name)}`);
  }

  return async ({ method, url, json, signal }) => {
    const call = Object.hasOwn(methods, url.pathname) ? methods[url.pathname] : undefined;
    if (call === undefined || method !== 'POST')
      return { status: 404, json: { Err: 'this is the volume driver of docker dso' } };
    const fields = typeof json === 'object' && json !== null ? (json as Fields) : {};
    return { status: 200, json: { Err: '', ...(await call(fields, signal)) } };
  };
}

/** The engine reads `Err` of a response with status 200, and shows it as it is. */
export function toDriverError(error: SecretError): JsonResponse {
  return { status: 200, json: { Err: statusText(error.summary) } };
}

function nameOf({ Name: name }: Fields): string {
  if (typeof name === 'string' && isVolumeName(name)) return name;
  const shown = typeof name === 'string' ? sanitizeUserText(name) : 'that is missing';
  throw new SecretError('INVALID_REQUEST', `a volume of dso cannot have the name ${shown}`, {
    hint: 'docker dso up makes the volumes by itself',
  });
}

function idOf({ ID: id }: Fields): string {
  if (typeof id === 'string' && /^[A-Za-z0-9.-]{1,128}$/.test(id)) return id;
  throw new SecretError('INVALID_REQUEST', 'the mount has no valid ID', {
    hint: 'only a container engine should call this socket',
  });
}
