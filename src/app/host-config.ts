import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { SecretError, errorCodeOf, fileProblemOf } from '../core/errors.ts';
import { readDsoConfig } from '../docker/config/read.ts';
import type { WholeHostConfig } from '../docker/delivery/host-requests.ts';

/**
 * Reads the dso.yaml of a host. One that is missing is as an empty one: `docker dso up` then says
 * what to do.
 * @param options.hint the remedy for a file that cannot be read
 * @throws SecretError NOT_CONFIGURED
 */
export async function readHostConfig(
  file: string,
  { log, hint }: { readonly log: Logger; readonly hint: string },
): Promise<WholeHostConfig> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    if (errorCodeOf(cause) === 'ENOENT') {
      log.warn({ file }, 'there is no configuration of this host: make it with docker dso init');
      return '';
    }
    throw new SecretError('NOT_CONFIGURED', `${file} cannot be read: ${fileProblemOf(cause)}`, {
      hint,
      cause,
    });
  });
  const { config, problems } = readDsoConfig(text, file);
  for (const { severity, message, hint: remedy, place } of problems)
    if (severity === 'warning') log.warn({ file, line: place?.line, hint: remedy }, message);
  if (config !== undefined) return { file, config };
  const [first, ...others] = problems.filter(({ severity }) => severity === 'error');
  const line = first?.place === undefined ? '' : ` line ${first.place.line}:`;
  throw new SecretError(
    'NOT_CONFIGURED',
    `${file} cannot be used:${line} ${first?.message ?? 'it has a problem'}`,
    { hint: first?.hint, others: others.map(({ message }) => message) },
  );
}
