import { readFile } from 'node:fs/promises';
import { Agent } from 'undici';

/**
 * What the cold mounts are compared with: undici and nothing else, asking the same store over as many connections as Keyferry keeps: one call
 * alone, as a new key needs it, then the others at once. Prints the milliseconds.
 * argv: origin, its authority's file, calls, connections.
 */
async function main([
  origin = '',
  caFile = '',
  calls = '',
  connections = '',
]: string[]): Promise<void> {
  const agent = new Agent({
    connections: Number(connections),
    connect: { ca: await readFile(caFile, 'utf8') },
  });
  const sendRequest = async (n: number): Promise<void> => {
    const { body } = await agent.request({ origin, path: `/v1/secrets/${n}`, method: 'GET' });
    await body.dump();
  };
  const startedAt = performance.now();
  await sendRequest(0);
  await Promise.all(Array.from({ length: Number(calls) - 1 }, (_, n) => sendRequest(n + 1)));
  process.stdout.write(String(performance.now() - startedAt));
  process.exit();
}

void main(process.argv.slice(2));
