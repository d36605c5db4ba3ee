import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { isVolumeName } from '../model/volumes.ts';
import type { PluginFields, PluginInterface } from './plugin-protocol.ts';

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

/**
 * The protocol of volume drivers:
 * https://docs.docker.com/engine/extend/plugins_volume/#volume-plugin-protocol.
 */
export function volumeDriver(actions: VolumeActions): PluginInterface {
  const volume = (name: string) => ({ Name: name, Mountpoint: actions.pathOf(name) });
  const methods: PluginInterface['methods'] = {
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

  function existing(fields: PluginFields): string {
    const name = nameOf(fields);
    if (actions.has(name)) return name;
    throw new SecretError('OBJECT_NOT_FOUND', `there is no volume ${sanitizeUserText(name)}`);
  }

  return { name: 'VolumeDriver', methods };
}

function nameOf({ Name: name }: PluginFields): string {
  if (typeof name === 'string' && isVolumeName(name)) return name;
  const shown = typeof name === 'string' ? sanitizeUserText(name) : 'that is missing';
  throw new SecretError('INVALID_REQUEST', `a volume of dso cannot have the name ${shown}`, {
    hint: 'docker dso up makes the volumes by itself',
  });
}

function idOf({ ID: id }: PluginFields): string {
  if (typeof id === 'string' && /^[A-Za-z0-9.-]{1,128}$/.test(id)) return id;
  throw new SecretError('INVALID_REQUEST', 'the mount has no valid ID', {
    hint: 'only a container engine should call this socket',
  });
}
