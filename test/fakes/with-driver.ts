import { join } from 'node:path';
import type { CsiServerOptions } from '../../src/csi/server.ts';
import { startFixture } from '../csi/harness.ts';
import { createDriver, type Driver, type DriverOptions } from '../driver/driver.ts';

/** Serves a walk at the socket of a provider, and does `work` with a driver before it. */
export async function withDriver(
  mount: CsiServerOptions['mount'],
  { provider, generation }: { readonly provider: string } & Pick<DriverOptions, 'generation'>,
  work: (driver: Driver) => Promise<void>,
): Promise<void> {
  const { folder, close } = await startFixture(mount, { providers: [provider] });
  const driver = createDriver({ generation, providersDir: folder, dir: join(folder, 'pods') });
  try {
    await work(driver);
  } finally {
    driver.close();
    await close();
  }
}
