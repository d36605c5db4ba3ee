import { spawn } from 'node:child_process';
import { createKubeClient, type KubeClient } from '../driver/kube-client.ts';
import { programInPath } from '../servers/go-program.ts';

/** What is missing to reach a cluster by a kubeconfig. */
export async function kubectlLacks(): Promise<readonly string[]> {
  return (await programInPath('kubectl')) === undefined ? ['kubectl'] : [];
}

/** A client of a user's cluster, by whatever way to log in its kubeconfig has: kubectl stands between. Default: kubectl's own choice. */
export async function connectByKubectl(kubeconfig?: string): Promise<KubeClient> {
  const flags = kubeconfig === undefined ? [] : ['--kubeconfig', kubeconfig];
  const child = spawn('kubectl', [...flags, 'proxy', '--port=0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const leave = (): void => void child.kill();
  process.once('exit', leave);
  const address = await new Promise<string>((resolve, reject) => {
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        const [, found] = /Starting to serve on (\S+)\n/.exec(output) ?? [];
        if (found !== undefined) resolve(found);
      });
    child.once('close', () => reject(new Error(`kubectl proxy ended:\n${output}`)));
  });
  const client = createKubeClient({ server: new URL(`http://${address}`) });
  return {
    ...client,
    async close() {
      await client.close();
      process.removeListener('exit', leave);
      child.kill();
    },
  };
}
