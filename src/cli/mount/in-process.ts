import { randomBytes } from 'node:crypto';
import { Registry } from 'prom-client';
import { compose } from '../../app/app.ts';
import { parseSettings } from '../../config/settings.ts';
import { createLog } from '../../telemetry/log.ts';
import type { InProcessMount } from './command.ts';

/**
 * The pipeline of one provider inside this process, for `keyferry mount`. Versions computed from a
 * file's bytes use a random key, so they differ from those of other processes.
 */
export function createInProcessMount(
  env: Readonly<Record<string, string | undefined>>,
): InProcessMount {
  return (_provider, raw) =>
    compose({
      settings: parseSettings(raw),
      env,
      log: createLog('error', 'text'),
      registry: new Registry(),
      versionKey: randomBytes(32),
    });
}
