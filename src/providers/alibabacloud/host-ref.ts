import { SecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { parameterVersionShape, parseSecretArn } from './class/object-ref.ts';

const parameterPrefix = 'oos:';
const namePattern = /^\P{C}{1,512}$/u;

/**
 * The ref of a path; see `createAlibabaHostStore`.
 * @throws SecretError INVALID_CLASS
 */
export function refOfPath(
  path: string,
  {
    region,
    endpoint,
  }: { readonly region: string | undefined; readonly endpoint: string | undefined },
): SecretRef {
  const place = region === undefined ? {} : { region };
  if (path.startsWith(parameterPrefix)) {
    const text = path.slice(parameterPrefix.length);
    const [, name = '', version] = /^([^:]*)(?::(.*))?$/.exec(text) ?? [];
    if (!namePattern.test(name))
      throw pathError(path, 'is not the name of a parameter of OOS', {
        hint: 'write oos: and the name: oos:my-app/db',
      });
    if (version !== undefined && !parameterVersionShape.test(version))
      throw pathError(path, 'selects no version of a parameter of OOS', {
        hint: 'versions are the numbers 1 to 100',
      });
    return { service: 'oos', name, ...place, ...(version !== undefined && { version }) };
  }
  if (!namePattern.test(path))
    throw pathError(path, 'has control characters, or is longer than 512 characters');
  const arn = path.startsWith('acs:') ? parseSecretArn(path) : undefined;
  if (path.startsWith('acs:') && arn === undefined)
    throw pathError(path, 'is not an ARN of a KMS secret', {
      hint: 'write acs:kms:<region>:<account id>:secret/<name>',
    });
  return {
    ...{ service: 'kms', name: path, ...place, ...arn, stage: 'ACSCurrent' },
    ...(endpoint !== undefined && { endpoint }),
  };
}

function pathError(
  path: string,
  problem: string,
  details: { readonly hint?: string } = {},
): SecretError {
  const message = `alibabacloud: ${sanitizeUserText(path)} ${problem}`;
  return new SecretError('INVALID_CLASS', message, details);
}
