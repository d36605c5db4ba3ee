import { readFile } from 'node:fs/promises';
import { Agent } from 'undici';

/**
 * The baseline of the cold mounts: only undici, which calls the same store over as many connections
 * as Keyferry keeps. It sends one call alone, as Keyferry does with a new key, and then the others
 * at once. Prints the milliseconds.
 * argv: origin, CA file of the origin, number of calls, number of connections.
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
