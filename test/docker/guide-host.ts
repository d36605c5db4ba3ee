import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { createTestCa } from '../fakes/tls.ts';
import { startEngine } from '../servers/docker/engine.ts';
import { runProgram } from '../servers/docker/run-program.ts';
import { startProgram, type StartedProgram } from '../servers/started-program.ts';
import { startGuideShell, type GuideShell } from './guide-shell.ts';

/** Where a server of this process appears on the host of a guide. */
export type ServedAt = {
  /** A name, which gets an address, or the address itself. */
  readonly at: string;
  readonly port: number;
  /** The server, on 127.0.0.1. */
  readonly url: URL;
};

const metadataAddress = '169.254.169.254';

/** What a host has of its own, over the files of the machine. */
const mountScript = `
set -e
mkdir -p "$0"
mount -t tmpfs tmpfs "$0"
mkdir "$0/run"
mount --rbind /run "$0/run"
mount -t tmpfs tmpfs /run
for path in "$0"/run/*/; do
  case $path in */dso/ | */systemd/) continue ;; esac
  mkdir -p "/run/$(basename "$path")"
  mount --rbind "$path" "/run/$(basename "$path")"
done
ln -s "$1" /run/docker.sock
mkdir -p /run/dso /run/systemd
for directory in /etc /usr/local /var/lib; do
  mkdir -p "$0$directory/upper" "$0$directory/work"
  mount -t overlay overlay -o "lowerdir=$directory,upperdir=$0$directory/upper,workdir=$0$directory/work" "$directory"
done
mount -t tmpfs tmpfs /run/dso
mount --make-shared /run/dso
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/system
ip address add ${metadataAddress}/32 dev lo
`;

/** Listens at an address of the host, and passes each connection on to a unix socket. */
const relayScript = `
const [host, port, path] = process.argv.slice(1);
const net = require('node:net');
net.createServer((from) => {
  const to = net.connect(path);
  from.on('error', () => to.destroy());
  to.on('error', () => from.destroy());
  from.pipe(to).pipe(from);
}).listen(Number(port), host, () => console.log('listening'));
`;

/**
 * A host with an engine, in which the commands of a guide run as root: `/etc`, `/usr/local`,
 * `/var/lib`, `/run` and the network are its own. The names of clouds lead to servers of the
 * suite, whose certificates have the authority `ca`.
 */
export async function startGuideHost() {
  const engine = await startEngine();
  const directory = join(engine.directory, 'host');
  const file = (name: string): string => join(directory, name);
  const state = file('systemctl');
  for (const path of ['bin', 'systemctl']) await mkdir(file(path), { recursive: true });
  const [program = '', ...args] = engine.besideEngine(
    ...['sh', '-c', mountScript, file('own'), join(engine.directory, 'docker.sock')],
  );
  const mounted = await runProgram(program, args, { env: engine.env });
  if (mounted.code !== 0) throw new Error(`the host cannot be made:\n${mounted.stderr}`);

  const env = { ...engine.env, PATH: `${file('bin')}:${engine.env.PATH ?? ''}`, STATE: state };
  const ca = createTestCa();
  const relays: { readonly relay: StartedProgram; readonly server: Server }[] = [];
  const shells: GuideShell[] = [];

  /** Writes a program that the guide finds in PATH. */
  const standIn = (name: string, text: string): Promise<void> =>
    writeFile(file(`bin/${name}`), text, { mode: 0o755 });
  await standIn('sudo', '#!/bin/sh\nexec "$@"\n');
  await standIn('systemctl', await readFile(join(import.meta.dirname, 'systemctl.sh'), 'utf8'));

  const shellIn = (path: string): GuideShell => {
    const shell = startGuideShell(engine.besideEngine('bash', '--noprofile', '--norc'), {
      ...{ directory: path, env },
    });
    shells.push(shell);
    return shell;
  };
  const machineShell = shellIn(directory);
  /** Runs a command that the guide does not have. @throws Error if it fails */
  async function prepare(command: string): Promise<string> {
    const { code, printed } = await machineShell.run(command);
    if (code !== 0) throw new Error(`${command} failed (${code}):\n${printed}`);
    return printed;
  }

  return {
    engine,
    ca,
    standIn,
    prepare,
    /** Lets a server appear on the host. */
    async serve({ at, port, url }: ServedAt): Promise<void> {
      const isAddress = /^[\d.]+$/.test(at);
      const address = isAddress ? at : `127.0.1.${relays.length + 1}`;
      if (!isAddress) await prepare(`echo '${address} ${at}' >>/etc/hosts`);
      const path = file(`relay-${relays.length}.sock`);
      const server = createServer((from) => {
        const to = connect(Number(url.port), '127.0.0.1');
        from.on('error', () => to.destroy());
        to.on('error', () => from.destroy());
        from.pipe(to).pipe(from);
      });
      await new Promise<void>((resolve) => server.listen(path, resolve));
      const [command = '', ...words] = engine.besideEngine(
        ...[process.execPath, '-e', relayScript, address, String(port), path],
      );
      const relay = await startProgram({
        ...{ program: command, args: words, env },
        isReady: async () => (await machineShell.run(`: </dev/tcp/${address}/${port}`)).code === 0,
      });
      relays.push({ relay, server });
    },
    /** The variables of the agent, with the authority of the suite. */
    async writeEnvironment(): Promise<void> {
      await writeFile(file('ca.crt'), ca.cert);
      await prepare(
        `mkdir -p /etc/dso && cp ca.crt /etc/dso/ca.crt && echo DSO_CA_FILE=/etc/dso/ca.crt >/etc/dso/environment`,
      );
    },
    /** The file of the authority, for other programs. */
    caFile: file('ca.crt'),
    /** A shell in a new directory, where the release is in dist/. */
    async shell(name: string): Promise<{ readonly shell: GuideShell; readonly directory: string }> {
      const path = file(`projects/${name}`);
      await mkdir(path, { recursive: true });
      await prepare(`ln -sfn '${join(import.meta.dirname, '../../dist')}' '${path}/dist'`);
      return { shell: shellIn(path), directory: path };
    },
    /** The log of the agent, as a unit or as a container. */
    async agentLog(): Promise<string> {
      const { code, stdout, stderr } = await engine.docker(['logs', 'dso-container']);
      if (code === 0) return stdout + stderr;
      return readFile(join(state, 'log'), 'utf8').catch(() => '');
    },
    /** Removes what a guide has installed, and the servers. */
    async clear(): Promise<void> {
      await engine.removeContainers();
      await machineShell.run('docker dso system uninstall; rm -rf /etc/dso /var/lib/dso');
      for (const { relay, server } of relays.splice(0)) {
        await relay.stop();
        server.close();
      }
    },
    async stop(): Promise<void> {
      for (const shell of shells) await shell.stop();
      await engine.stop();
    },
  };
}

/** See {@link startGuideHost}. */
export type GuideHost = Awaited<ReturnType<typeof startGuideHost>>;
