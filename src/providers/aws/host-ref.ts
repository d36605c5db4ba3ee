import { SecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { arnHint, parseArn } from './arn.ts';
import { parameterNameProblem, parseParameterSelector, secretNameProblem } from './class/target.ts';

const parameterPrefix = 'ssm:';

/**
 * The ref of a path; see `createAwsHostStore`.
 * @param region of refs that name none
 * @throws SecretError INVALID_CLASS
 */
export function refOfPath(path: string, region: string | undefined): SecretRef {
  const place = region === undefined ? {} : { region };
  if (path.startsWith('arn:')) {
    const arn = parseArn(path);
    if (arn === undefined)
      throw pathError(path, 'is not an ARN of a secret or a parameter', {
        hint: arnHint(path),
      });
    const stage = arn.service === 'secretsmanager' ? { stage: 'AWSCURRENT' } : {};
    return { ...arn, name: path, ...stage };
  }
  if (path.startsWith(parameterPrefix)) {
    const text = path.slice(parameterPrefix.length);
    const [, name = '', selector] = /^([^:]*)(?::(.*))?$/.exec(text) ?? [];
    const problem = parameterNameProblem(name);
    if (problem !== undefined)
      throw pathError(path, 'is not the name of a parameter', {
        hint: 'write ssm: and the name, which has letters, digits and "_./-": ssm:/my-app/db',
      });
    const selection = selector === undefined ? {} : parseParameterSelector(selector);
    if (selection === undefined)
      throw pathError(path, 'selects neither a version nor a label of the parameter', {
        hint: 'a version is a number from 1, a label has letters, digits and "_.-"',
      });
    return { service: 'ssm', name, ...place, ...selection };
  }
  const problem = secretNameProblem(path);
  if (problem !== undefined) throw pathError(path, problem.message);
  return { service: 'secretsmanager', name: path, ...place, stage: 'AWSCURRENT' };
}

function pathError(
  path: string,
  problem: string,
  details: { readonly hint?: string } = {},
): SecretError {
  return new SecretError('INVALID_CLASS', `aws: ${sanitizeUserText(path)} ${problem}`, details);
}
