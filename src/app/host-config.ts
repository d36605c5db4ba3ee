import { readFile } from 'node:fs/promises';
import { SecretError, errorCodeOf, fileProblemOf } from '../core/errors.ts';
import { readDsoConfig } from '../docker/config/read.ts';
import type { WholeHostConfig } from '../docker/delivery/host-requests.ts';

/** Gets a warning. A line is one of the file. */
export type WarnOfConfig = (
  message: string,
  details: { readonly line?: number | undefined; readonly hint?: string },
) => void;

/**
 * Reads the dso.yaml of a host. One that is missing is as an empty one: `docker dso up` then says
 * what to do.
 * @param options.hint the remedy for a file that cannot be read
 * @param options.warn gets what is not right, and does not stop anything
 * @throws SecretError NOT_CONFIGURED
 */
export async function readHostConfig(
  file: string,
  { hint, warn }: { readonly hint: string; readonly warn: WarnOfConfig },
): Promise<WholeHostConfig> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    if (errorCodeOf(cause) === 'ENOENT') {
      warn('there is no configuration of this host: make it with docker dso init', {});
      return '';
    }
    throw new SecretError('NOT_CONFIGURED', `${file} cannot be read: ${fileProblemOf(cause)}`, {
      hint,
      cause,
    });
  });
  const { config, problems } = readDsoConfig(text, file);
  for (const { severity, message, hint: remedy, place } of problems)
    if (severity === 'warning') warn(message, { line: place?.line, hint: remedy });
  if (config !== undefined) return { file, config };
  const [first, ...others] = problems.filter(({ severity }) => severity === 'error');
  const line = first?.place === undefined ? '' : ` line ${first.place.line}:`;
  throw new SecretError(
    'NOT_CONFIGURED',
    `${file} cannot be used:${line} ${first?.message ?? 'it has a problem'}`,
    { hint: first?.hint, others: others.map(({ message }) => message) },
  );
}
