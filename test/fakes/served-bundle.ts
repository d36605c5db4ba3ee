import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from '@jest/globals';
import { createDriver, type Driver, type DriverOptions } from '../driver/driver.ts';
import { startKeyferry, type KeyferryProcess } from '../driver/keyferry-process.ts';
import type { FakeKubernetes } from './kubernetes.ts';

/** The part of a fixture that exists before Keyferry starts. */
type BundleFixture = {
  readonly kubernetes: Pick<FakeKubernetes, 'server' | 'tokenFile' | 'caFile'>;
  readonly env: Readonly<Record<string, string | undefined>>;
  close(): Promise<void>;
};

/** What is started before the tests of a file. */
export type ServedBundle<R extends BundleFixture> = {
  readonly fixture: R;
  readonly keyferry: KeyferryProcess;
  /** A driver of that generation, with pods of its own. */
  driverOf(generation: DriverOptions['generation']): Driver;
};

/**
 * Serves the built bundle against a fixture, for all tests of a file. Every mount reads from the
 * store. A first mount does not wait for a store that is away.
 * @param args beside the addresses of the fake cluster
 * @returns gives it, within tests
 */
export function serveBundle<R extends BundleFixture>({
  providers,
  start,
  args,
}: {
  readonly providers: readonly string[];
  readonly start: () => Promise<R>;
  readonly args: (fixture: R) => readonly string[];
}): () => ServedBundle<R> {
  let served: ServedBundle<R> & { readonly dir: string };

  beforeAll(async () => {
    const dir = await mkdtemp(join(tmpdir(), 'kf-bundle-'));
    const fixture = await start();
    const { server, tokenFile, caFile } = fixture.kubernetes;
    const kube = [
      '--kube-server',
      server.href,
      '--kube-token-file',
      tokenFile,
      '--kube-ca-file',
      caFile,
    ];
    const keyferry = await startKeyferry({
      providers,
      args: [
        ...['--refresh-interval', '0', '--first-mount-patience', '0'],
        ...[...kube, ...args(fixture)],
      ],
      env: fixture.env,
    });
    const { providersDir } = keyferry;
    const driverOf: ServedBundle<R>['driverOf'] = (generation) =>
      createDriver({ providersDir, generation, dir: join(dir, generation) });
    served = { fixture, keyferry, driverOf, dir };
  }, 60_000);

  afterAll(async () => {
    await served.keyferry.stop();
    await served.fixture.close();
    await rm(served.dir, { recursive: true });
  });

  return () => served;
}
