import { credentials } from '@grpc/grpc-js';
import type { DriverService } from './driver-service.ts';

/** What is wrong with the socket at `path`, as a driver would find it; undefined where this very process answers there in time. */
export async function probeSocket(
  service: DriverService,
  { path, runtimeVersion, timeoutMs }: { path: string; runtimeVersion: string; timeoutMs: number },
): Promise<string | undefined> {
  const client = new service(`unix:${path}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
  });
  try {
    return await new Promise((resolve) => {
      const deadline = Date.now() + timeoutMs;
      client.Version({ version: 'v1alpha1' }, { deadline }, (error, answer) => {
        if (error !== null) resolve(`${path} does not answer: ${error.details}`);
        else if (answer?.runtimeVersion === runtimeVersion) resolve(undefined);
        else resolve(`${path} is answered by another process`);
      });
    });
  } finally {
    client.close();
  }
}
