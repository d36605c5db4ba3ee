import { realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Registry } from 'prom-client';
import { SecretError } from '../core/errors.ts';
import { escapeUnprintable, sanitizeUserText } from '../core/safe-text.ts';
import type { Docker } from '../docker/compose/docker.ts';
import { type LeaseRefusal, refuseLeases } from '../docker/delivery/refuse-leases.ts';
import { LocalReader } from '../docker/local/local-reader.ts';
import { userConfigFile } from '../docker/local/user-places.ts';
import { placesBelow } from '../docker/setup/places.ts';
import { installShim } from '../docker/volume/shim-file.ts';
import { isThere } from '../files/is-there.ts';
import type { Output } from '../formats/terminal-style.ts';
import { loadVersionKey } from '../mount/version-key.ts';
import { createLog } from '../telemetry/log.ts';
import { readHostConfig } from './host-config.ts';
import { createHostPipeline } from './host-pipeline.ts';

/** What {@link composeLocalReader} needs. */
export type ComposeLocalDeps = {
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly docker: Docker;
  /** The file of the plugin. */
  readonly program: string;
  readonly stderr: Output;
};

const leasesInLocalMode: LeaseRefusal = {
  isRefused: () => true,
  reason: 'in local mode nothing renews it',
  hint: 'start its service with the agent: sudo docker dso system setup',
};

/** The composition root of local mode: as that of the agent, for one command. */
export function composeLocalReader(deps: ComposeLocalDeps): LocalReader {
  const { version, env, docker, program, stderr } = deps;
  const warn = (text: string): void =>
    void stderr.write(`docker dso: warning: ${escapeUnprintable(text)}\n`);
  // A failed read is reported by the command.
  const log = createLog('error', 'text');
  return new LocalReader({
    ...{ version, env, docker, warn },
    async readConfig() {
      const hint = 'check its rights, or name another file with DSO_USER_CONFIG';
      const file = userConfigFile(env, process.getuid?.());
      const host = await readHostConfig(file, {
        hint,
        // A file that is missing fails where a store is needed.
        warn(message, { line, hint: remedy }) {
          if (line !== undefined) warn(`${file} line ${line}: ${message}; ${remedy ?? ''}`);
        },
      });
      return { ...host, isOfUser: true };
    },
    openStores: async (host, keyDirectory) =>
      createHostPipeline({
        ...{ host, env, log, registry: new Registry() },
        wrapStore: (store, name) => refuseLeases(store, name, leasesInLocalMode),
        caFile: env.DSO_CA_FILE === '' ? undefined : env.DSO_CA_FILE,
        versionKey: await loadVersionKey(keyDirectory),
        // Nothing is cached before, and nothing after.
        ...{ refreshInterval: 0, maxStale: 0, firstMountPatience: 20_000 },
      }),
    installShim: async (directory) => installShim(await findShims(env, program), directory),
    now: Date.now,
  });
}

/** Beside the file behind the plugin's link, or where `system setup` has put them. */
async function findShims(env: ComposeLocalDeps['env'], program: string): Promise<string> {
  const named = env.DSO_SHIM_DIR ?? '';
  if (named !== '') return named;
  const file = await realpath(program).catch(() => program);
  const candidates = [dirname(file), placesBelow('/').library].map((path) => join(path, 'shim'));
  for (const path of candidates) if (await isThere(path)) return path;
  throw new SecretError(
    'NOT_CONFIGURED',
    `there is no shim in ${candidates.map(sanitizeUserText).join(' or ')}`,
    {
      hint: 'build it with make shim, and make the plugin a link into the release: ln -s "$PWD/dist/docker-dso" ~/.docker/cli-plugins/; or name its directory with DSO_SHIM_DIR',
    },
  );
}
