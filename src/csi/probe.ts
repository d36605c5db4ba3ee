import { createDriverClient } from './driver-client.ts';

/** What is wrong with the socket at `path`, as a driver would find it; undefined where this very process answers there in time. */
export async function probeSocket({
  path,
  runtimeVersion,
  timeoutMs,
}: {
  path: string;
  runtimeVersion: string;
  timeoutMs: number;
}): Promise<string | undefined> {
  const client = createDriverClient({ socketPath: path });
  const answer = await client.version({ timeoutMs });
  client.close();
  if (answer.code !== 'OK') return `${path} does not answer: ${answer.message}`;
  if (answer.response.runtimeVersion !== runtimeVersion) return `${path} is answered by another process`;
  return undefined;
}
