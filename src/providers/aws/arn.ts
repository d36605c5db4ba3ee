import { isRegion } from '../shared/class/parameters.ts';

/** Parses the ARN of a secret or a parameter. Undefined for any other text. */
export function parseArn(
  text: string,
): { readonly service: 'secretsmanager' | 'ssm'; readonly region: string } | undefined {
  const [, service, region = ''] =
    /^arn:aws[a-z-]*:(secretsmanager):([^:]*):\d{12}:secret:[^:\s]+$/.exec(text) ??
    /^arn:aws[a-z-]*:(ssm):([^:]*):\d{12}:parameter\/[^:\s]+$/.exec(text) ??
    [];
  return isRegion(region)
    ? { service: service === 'ssm' ? 'ssm' : 'secretsmanager', region }
    : undefined;
}

/** The remedy for a text that is not the ARN of a secret or a parameter. */
export function arnHint(text: string): string {
  return hasShortAccount(text)
    ? shortAccountHint
    : 'write arn:aws:secretsmanager:<region>:<account>:secret:<name>, or arn:aws:ssm:<region>:<account>:parameter/<name>';
}

/**
 * The ARN of an IAM role: `arn:aws:iam::111122223333:role/team/app`. It matches an account of fewer
 * digits too: see {@link hasShortAccount}.
 */
export const roleArnPattern = /^arn:aws[a-z-]*:iam::\d{1,12}:role\/[\w+=,.@/-]{1,576}$/;

/** YAML and spreadsheets drop zeros at the beginning of an account. */
export function hasShortAccount(arn: string): boolean {
  const [, account] = /^arn:aws[a-z-]*:[a-z]+:[^:]*:(\d*):/.exec(arn) ?? [];
  return account !== undefined && account.length !== 12;
}

/** The remedy where {@link hasShortAccount}. */
export const shortAccountHint = 'the account of an ARN has 12 digits, zeros at the beginning too';
