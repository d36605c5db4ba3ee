import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createKubeClient, type KubeClient } from '../driver/kube-client.ts';
import { programInPath } from '../servers/go-program.ts';

/** What is missing to reach a cluster by a kubeconfig. */
export async function missingKubectlDependencies(): Promise<readonly string[]> {
  return (await programInPath('kubectl')) === undefined ? ['kubectl'] : [];
}

/** Which cluster is meant; default each: kubectl's own choice. */
export type KubeconfigOptions = {
  /** As in the environment: several files may be joined by colons. */
  readonly kubeconfig?: string;
  readonly context?: string;
};

/** A user's cluster, as kubectl reaches it. */
export type ConnectedCluster = {
  readonly kube: KubeClient;
  /** The context and the server it leads to, for people. */
  readonly name: string;
};

type Config = {
  readonly 'current-context': string;
  readonly contexts:
    readonly { readonly name: string; readonly context: { readonly cluster: string } }[] | null;
  readonly clusters:
    readonly { readonly name: string; readonly cluster: { readonly server: string } }[] | null;
};

/**
 * Connects to the cluster of a user with any login method of the kubeconfig. `kubectl proxy` runs
 * in between, on a socket that only this user can open.
 * @throws Error that names what is missing
 */
export async function connectWithKubectl({
  kubeconfig,
  context,
}: KubeconfigOptions): Promise<ConnectedCluster> {
  if ((await missingKubectlDependencies()).length > 0)
    throw new Error(
      'there is no kubectl in PATH: install it, any version that can talk to your cluster',
    );
  const env = { ...process.env, ...(kubeconfig !== undefined && { KUBECONFIG: kubeconfig }) };
  const config = await readKubeconfig(env);
  const contexts = config.contexts ?? [];
  const contextName = context ?? config['current-context'];
  const found = contexts.find(({ name }) => name === contextName);
  if (found === undefined)
    throw new Error(
      `the kubeconfig has ${contextName === '' ? 'no current context' : `no context ${contextName}`}, but: ${
        contexts.map(({ name }) => name).join(', ') || 'none'
      }; choose one by CONTEXT=..., or another file by KUBECONFIG=...`,
    );
  const cluster = config.clusters?.find(({ name }) => name === found.context.cluster)?.cluster;
  const directory = await mkdtemp(join(tmpdir(), 'kf-proxy-'));
  const socketPath = join(directory, 'sock');
  // Detached, so that ^C at the terminal does not stop the proxy: the cleanup still needs it.
  const child = spawn('kubectl', ['proxy', '--context', contextName, '--unix-socket', socketPath], {
    ...{ env, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  });
  const killOnExit = (): void => void child.kill();
  process.once('exit', killOnExit);
  await new Promise<void>((resolve, reject) => {
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        if (output.includes('Starting to serve on')) resolve();
      });
    child.once('close', () => reject(new Error(`kubectl proxy ended:\n${output}`)));
  });
  const kube = createKubeClient({ server: new URL('http://localhost'), socketPath });
  return {
    name: `${contextName} (${cluster?.server ?? 'a server without a name'})`,
    kube: {
      ...kube,
      async close() {
        await kube.close();
        process.removeListener('exit', killOnExit);
        child.kill();
        await rm(directory, { recursive: true, force: true });
      },
    },
  };
}

async function readKubeconfig(env: NodeJS.ProcessEnv): Promise<Config> {
  try {
    const { stdout } = await promisify(execFile)('kubectl', ['config', 'view', '-o', 'json'], {
      env,
    });
    return JSON.parse(stdout) as Config;
  } catch (error) {
    const { stderr = String(error) } = error as { stderr?: string };
    throw new Error(`kubectl cannot read the kubeconfig: ${stderr.trim()}`, { cause: error });
  }
}
