import { Command } from 'commander';
import { Registry } from 'prom-client';
import { parseSettings, settingFlags, type RawSettings } from '../config/settings.ts';
import { CsiServer } from '../csi/server.ts';
import { SecretError } from '../core/errors.ts';
import { loadVersionKey, readSharedVersionKey } from '../mount/version-key.ts';
import { providers } from '../providers/registry.ts';
import { createLog } from '../telemetry/log.ts';
import { createProcessMetrics } from '../telemetry/process-metrics.ts';
import { compose } from '../app/app.ts';
import { warnOfMissingDirectory } from '../app/start-checks.ts';
import { createDriverMount } from '../csi/mount-request.ts';
import { warningForServe } from './node-version.ts';
import { untilAborted } from './until-aborted.ts';

/** What {@link serveCommand} needs of the process. */
export type ServeDeps = {
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts when the process is stopped. */
  readonly stop: AbortSignal;
};

/** `keyferry serve`: serves the driver until it is stopped, then finishes the mounts in flight. */
export function serveCommand({ version, env, stop }: ServeDeps): Command {
  const command = new Command('serve').description(
    'serve the Secrets Store CSI driver on its unix sockets',
  );
  for (const option of settingFlags) command.addOption(option);
  return command.action(async (raw: RawSettings) => {
    const settings = parseSettings(raw);
    if (settings.providers.length === 0) {
      throw new SecretError('NOT_CONFIGURED', '--providers names no provider', {
        hint: `give one or more of ${Object.keys(providers).join(', ')}, separated by commas`,
      });
    }
    const log = createLog(settings.logLevel, settings.logFormat);
    const nodeWarning = warningForServe(process.versions.node);
    if (nodeWarning !== undefined) log.warn(nodeWarning);
    warnOfMissingDirectory(settings, log);
    const registry = new Registry();
    createProcessMetrics(registry, version);
    const versionKey =
      settings.versionKeyFile === undefined
        ? await loadVersionKey(settings.providersDir)
        : await readSharedVersionKey(settings.versionKeyFile);
    const { mount, reportInvalid, close } = await compose({
      settings,
      env,
      log,
      registry,
      versionKey,
    });
    const server = new CsiServer({
      mount: createDriverMount({ mount, onInvalid: reportInvalid }),
      version,
      providers: settings.providers,
      providersDir: settings.providersDir,
      healthAddress: settings.healthAddress,
      maxResponseBytes: settings.maxResponseBytes,
      log,
      registry,
    });
    await server.start();
    log.info(
      { version, providers: settings.providers, providersDir: settings.providersDir },
      'serving',
    );
    await untilAborted(stop);
    log.info({ graceMs: settings.grace }, 'draining');
    await server.drain(settings.grace);
    await close();
    log.info('stopped');
  });
}
