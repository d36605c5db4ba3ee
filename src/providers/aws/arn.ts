import { isRegion } from '../region.ts';

/** An IAM role: `arn:aws:iam::111122223333:role/team/app`. */
export const roleArnShape = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,576}$/;

/** The services whose secrets are mounted, as ARNs and refs name them. */
export type AwsService = 'secretsmanager' | 'ssm';

/** What the ARN of a secret or a parameter says; `undefined` for what is neither. */
export function readArn(text: string): { readonly service: AwsService; readonly region: string } | undefined {
  const [, service, region = ''] =
    /^arn:aws[a-z-]*:(secretsmanager):([^:]*):\d{12}:secret:[^:\s]+$/.exec(text) ??
    /^arn:aws[a-z-]*:(ssm):([^:]*):\d{12}:parameter\/[^:\s]+$/.exec(text) ??
    [];
  return isRegion(region) ? { service: service === 'ssm' ? 'ssm' : 'secretsmanager', region } : undefined;
}
