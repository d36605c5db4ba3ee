import type { EngineJson } from '../engine/engine.ts';
import { composeLabels } from '../model/labels.ts';

/** On a container that takes the place of another one: the id of that one. */
export const replacesLabel = 'dso.replaces';
/** On the same container: how many containers the service had before. */
export const replicasLabel = 'dso.replicas';

/** A container that is like another one. */
export type ContainerClone = {
  readonly name: string;
  /** The body of `POST /containers/create`. */
  readonly body: EngineJson;
  /** The networks that the body has no room for, and the endpoint of the container in each. */
  readonly networks: ReadonlyMap<string, EngineJson>;
};

/**
 * Why a container cannot run twice; undefined if it can.
 * @param container what the engine says of it
 */
export function rollingObstacle(container: EngineJson): string | undefined {
  const { HostConfig, Config, NetworkSettings, Mounts } = objects(container);
  const { PortBindings, PublishAllPorts, NetworkMode } = HostConfig;
  const mode = text(NetworkMode);
  if (PublishAllPorts === true || Object.values(object(PortBindings)).some((list) => list !== null))
    return 'it publishes a port of the host';
  if (mode === 'host' || mode.startsWith('container:'))
    return `it uses the network of ${mode === 'host' ? 'the host' : 'another container'}`;
  const endpoints = Object.values(object(NetworkSettings.Networks)).map(object);
  const fixed = endpoints.some(({ IPAMConfig }) =>
    Object.values(object(IPAMConfig)).some((address) => text(address) !== ''),
  );
  if (fixed || text(Config.MacAddress) !== '') return 'it has a fixed address';
  const writable = (Array.isArray(Mounts) ? Mounts : [])
    .map(object)
    .find(({ Type, RW }) => RW === true && (Type === 'volume' || Type === 'bind'));
  if (writable !== undefined)
    return `it can write to what it mounts at ${text(writable.Destination)}`;
  if (numberIn(container) === undefined) return 'it has a name of its own (container_name)';
  return undefined;
}

/**
 * What makes a second container like this one, with another number: Compose takes it as one more
 * replica, and a later `docker compose up` leaves it as it is.
 * @param container what the engine says of it
 * @param image its name if that still means the same image, and its id otherwise
 */
export function cloneOf(
  container: EngineJson,
  {
    number,
    image,
    replicas,
  }: { readonly number: number; readonly image: string; readonly replicas: number },
): ContainerClone {
  const { HostConfig, Config, NetworkSettings } = objects(container);
  const id = text(container.Id);
  const oldName = nameOf(container);
  const name = `${oldName.slice(0, -String(numberIn(container) ?? '').length)}${number}`;
  const { Hostname, ...config } = Config;
  const endpoints = Object.entries(object(NetworkSettings.Networks)).map(
    ([network, value]): [string, EngineJson] => {
      const { Aliases, Links, DriverOpts, GwPriority } = object(value);
      const aliases = (Array.isArray(Aliases) ? Aliases : []).map(text);
      const kept = aliases.filter((alias) => alias !== oldName && !isIdPart(alias, id));
      const others = Object.entries({ Links, DriverOpts, GwPriority }).filter(
        ([, part]) => part != null,
      );
      return [network, { Aliases: [...kept, name], ...Object.fromEntries(others) }];
    },
  );
  const own = endpoints.filter(([network]) => network === text(HostConfig.NetworkMode));
  return {
    name,
    body: {
      ...config,
      // The engine's default is a part of the id.
      ...(!isIdPart(text(Hostname), id) && { Hostname }),
      Image: image,
      Labels: {
        ...object(Config.Labels),
        [composeLabels.number]: String(number),
        [replacesLabel]: id,
        [replicasLabel]: String(replicas),
      },
      HostConfig,
      NetworkingConfig: { EndpointsConfig: Object.fromEntries(own) },
    },
    networks: new Map(endpoints.filter((endpoint) => !own.includes(endpoint))),
  };
}

/** Without the slash. */
export function nameOf({ Name }: EngineJson): string {
  return text(Name).replace(/^\//, '');
}

/** The number in the name of a container, if it is that of its label. */
function numberIn(container: EngineJson): number | undefined {
  const label = text(object(objects(container).Config.Labels)[composeLabels.number]);
  return /^\d+$/.test(label) && new RegExp(`[-_]${label}$`).test(nameOf(container))
    ? Number(label)
    : undefined;
}

function isIdPart(name: string, id: string): boolean {
  return /^[0-9a-f]{12,}$/.test(name) && id.startsWith(name);
}

function objects({ HostConfig, Config, NetworkSettings, Mounts }: EngineJson) {
  return {
    HostConfig: object(HostConfig),
    Config: object(Config),
    NetworkSettings: object(NetworkSettings),
    Mounts,
  };
}

function object(value: unknown): EngineJson {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as EngineJson)
    : {};
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
