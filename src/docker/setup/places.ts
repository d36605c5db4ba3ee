import { join } from 'node:path';

/** Where the parts of an installation are, by the File Hierarchy Standard. */
export type Places = {
  /** The directory of the program's files. */
  readonly library: string;
  /** What Docker finds as its plugin: a link into the library. */
  readonly plugin: string;
  readonly unit: string;
  readonly configDirectory: string;
  readonly configFile: string;
  /** Variables of the agent, which the administrator may write. */
  readonly environmentFile: string;
  readonly stateDirectory: string;
  readonly runDirectory: string;
  readonly volumesDirectory: string;
  readonly controlSocket: string;
  readonly pluginSocketDirectory: string;
  readonly pluginSocket: string;
  /** That of the container engine. */
  readonly engineSocket: string;
  /** The configuration of the container engine. */
  readonly engineConfigDirectory: string;
  readonly engineConfig: string;
  /** Where the engine writes the number of its process. */
  readonly enginePid: string;
  /** There if systemd runs. sd_booted(3) */
  readonly systemd: string;
};

/** The name of the unit of systemd. */
export const unitName = 'dso-agent.service';

/** The name of the agent's container. */
export const containerName = 'dso-container';

/** @param root the directory that is the root of the host: `/`, or another one for an image */
export function placesBelow(root: string): Places {
  const at = (path: string): string => join(root, path);
  return {
    library: at('/usr/local/lib/keyferry'),
    plugin: at('/usr/local/lib/docker/cli-plugins/docker-dso'),
    unit: at(`/etc/systemd/system/${unitName}`),
    configDirectory: at('/etc/dso'),
    configFile: at('/etc/dso/dso.yaml'),
    environmentFile: at('/etc/dso/environment'),
    stateDirectory: at('/var/lib/dso'),
    runDirectory: at('/run/dso'),
    volumesDirectory: at('/run/dso/volumes'),
    controlSocket: at('/run/dso/agent.sock'),
    pluginSocketDirectory: at('/run/docker/plugins'),
    pluginSocket: at('/run/docker/plugins/dso.sock'),
    engineSocket: at('/run/docker.sock'),
    engineConfigDirectory: at('/etc/docker'),
    engineConfig: at('/etc/docker/daemon.json'),
    enginePid: at('/run/docker.pid'),
    systemd: at('/run/systemd/system'),
  };
}

/** The files of a release, relative to its directory and to the library. */
export const programFiles = [
  { name: 'keyferry.js', mode: 0o755 },
  { name: 'docker-dso', mode: 0o755 },
  { name: 'shim/dso-shim-linux-amd64', mode: 0o755 },
  { name: 'shim/dso-shim-linux-arm64', mode: 0o755 },
] as const;

/** The file of a release that is the runtime for this machine. */
export const runtimeFile = `shim/dso-runtime-linux-${process.arch === 'x64' ? 'amd64' : process.arch}`;

/** Its name in the library. */
export const runtimeProgram = 'dso-runtime';
