import { DriverClient } from './driver-service.ts';

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
  const client = new DriverClient(path, 'localhost', { 'grpc.use_local_subchannel_pool': 1 });
  try {
    return await new Promise((resolve) => {
      const deadline = Date.now() + timeoutMs;
      client.version({ deadline }, (error, answer) => {
        if (error !== null) resolve(`${path} does not answer: ${error.details}`);
        else if (answer?.runtimeVersion === runtimeVersion) resolve(undefined);
        else resolve(`${path} is answered by another process`);
      });
    });
  } finally {
    client.close();
  }
}
