import { randomBytes } from 'node:crypto';
import { Registry } from 'prom-client';
import { compose } from '../../app/app.ts';
import { parseSettings } from '../../config/settings.ts';
import { createLog } from '../../telemetry/log.ts';
import type { InProcessMount } from './command.ts';

/**
 * The walk of one provider inside this process, for `keyferry mount`. Versions that are made of a file's bytes get a key of
 * this process: they mean nothing to anybody else.
 */
export function createInProcessMount(
  env: Readonly<Record<string, string | undefined>>,
): InProcessMount {
  return (_provider, raw) =>
    compose({
      settings: parseSettings(raw),
      env,
      log: createLog('error'),
      registry: new Registry(),
      versionKey: randomBytes(32),
    });
}
