import { createHash } from 'node:crypto';
import { containerName, placesBelow } from './places.ts';

/** The label of the agent's container, with a digest of what it was started with. */
export const containerLabel = 'keyferry.setup';

/** What the host has for the agent's container. */
type ContainerOptions = { readonly hasEnvironmentFile: boolean; readonly hasEngineSocket: boolean };

/**
 * The words after `docker` that start the agent as a container. It mounts a tmpfs in `/run/dso`,
 * which reaches the host because that directory is shared with it.
 * @param options.hasEnvironmentFile whether the file of variables exists
 * @param options.hasEngineSocket whether the engine's socket is where it usually is
 */
export function agentContainer(
  image: string,
  options: ContainerOptions,
): { readonly words: readonly string[]; readonly digest: string } {
  const [run = '', ...words] = startWords(image, options);
  const digest = createHash('sha256').update(words.join('\0')).digest('hex').slice(0, 16);
  return { words: [run, '--label', `${containerLabel}=${digest}`, ...words], digest };
}

function startWords(
  image: string,
  { hasEnvironmentFile, hasEngineSocket }: ContainerOptions,
): readonly string[] {
  const places = placesBelow('/');
  const mount = (path: string, ...options: readonly string[]): readonly string[] => [
    '--mount',
    [`type=bind,source=${path},target=${path}`, ...options].join(','),
  ];
  return [
    ...['run', '--detach', '--name', containerName],
    ...['--restart', 'always', '--user', '0:0', '--read-only'],
    // The metadata service of a cloud answers the host only.
    ...['--network', 'host'],
    ...['--cap-drop', 'ALL'],
    ...['SYS_ADMIN', 'CHOWN', 'DAC_OVERRIDE', 'FOWNER'].flatMap((name) => ['--cap-add', name]),
    // The profile of Docker refuses every mount.
    ...['--security-opt', 'apparmor=unconfined', '--security-opt', 'label=disable'],
    ...['--security-opt', 'no-new-privileges', '--ulimit', 'core=0'],
    ...(hasEnvironmentFile ? ['--env-file', places.environmentFile] : []),
    ...mount(places.configDirectory, 'readonly'),
    ...mount(places.stateDirectory),
    ...mount(places.runDirectory, 'bind-propagation=rshared'),
    ...mount(places.pluginSocketDirectory),
    // To start what failed while the agent was away.
    ...(hasEngineSocket ? mount(places.engineSocket) : []),
    // The group docker of the host may use the agent's socket.
    ...mount('/etc/group', 'readonly'),
    ...[image, 'docker-agent', '--config', places.configFile],
  ];
}
