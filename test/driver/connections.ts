import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DriverClient, type DriverClientOptions } from '../../src/csi/client.ts';
import type { MountResponse } from '../../src/csi/messages.ts';
import type { DriverRequest } from '../../src/csi/client.ts';
import { toMountResult, type MountFailure } from './mount-result.ts';

/** The driver's connections to its providers: one for each, found by name and kept. */
export type Connections = {
  /** @param timeoutMs for all attempts together; undefined: no deadline is sent */
  mount(
    provider: string,
    request: DriverRequest,
    timeoutMs: number | undefined,
  ): Promise<MountResponse | MountFailure>;
  close(): void;
};

export function createConnections(options: {
  readonly providersDir: string;
  /** Milliseconds between two attempts. */
  readonly retryDelayMs: number;
  readonly client: Omit<DriverClientOptions, 'socketPath'>;
}): Connections {
  const { providersDir, retryDelayMs } = options;
  const clients = new Map<string, DriverClient>();

  function connect(provider: string): DriverClient | undefined {
    const existing = clients.get(provider);
    if (existing !== undefined) return existing;
    const socketPath = join(providersDir, `${provider}.sock`);
    // A stale socket counts as present: the driver only checks once that the file exists.
    if (!/^[a-zA-Z0-9_-]{0,30}$/.test(provider) || !existsSync(socketPath)) return undefined;
    const client = new DriverClient({ ...options.client, socketPath });
    clients.set(provider, client);
    return client;
  }

  return {
    async mount(provider, request, timeoutMs) {
      const client = connect(provider);
      if (client === undefined)
        return {
          code: 'UNKNOWN',
          message: `error connecting to provider "${provider}": provider not found`,
        };
      const end = timeoutMs === undefined ? undefined : Date.now() + timeoutMs;
      for (let attempt = 1; ; attempt += 1) {
        const result = await client.mount(request, {
          timeoutMs: end === undefined ? undefined : end - Date.now(),
        });
        // The driver retries only UNAVAILABLE, with three attempts in all.
        if (result.code !== 'UNAVAILABLE' || attempt === 3) return toMountResult(result);
        await sleep(retryDelayMs);
      }
    },
    close() {
      for (const client of clients.values()) client.close();
    },
  };
}
