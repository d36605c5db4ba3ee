import type { StoreType } from '../../core/host-store.ts';

/** What is wrong with the ARN of a role. A warning is a guess that can be wrong. */
export type ArnProblem = { readonly severity: 'error' | 'warning'; readonly message: string };

/** IAM allows 64 characters of a name and 512 of its path, STS 2,048 of an ARN. */
const maxLength = 2_048;
const examples: Partial<Readonly<Record<StoreType, string>>> = {
  aws: 'arn:aws:iam::123456789012:role/NAME',
  alibabacloud: 'acs:ram::1234567890123456:role/NAME',
};
const shapes: Partial<Readonly<Record<StoreType, RegExp>>> = {
  aws: /^arn:aws[a-z-]{0,20}:iam::(\d{1,20}):role\/[\w+=,.@/-]+$/,
  alibabacloud: /^acs:ram::(\d{1,20}):role\/[\w.-]+$/,
};

/** Checks the ARN of a role as words that follow its name, without asking anyone. */
export function checkRoleArn(type: StoreType, arn: string): ArnProblem | undefined {
  const account = arn.length > maxLength ? undefined : shapes[type]?.exec(arn)?.[1];
  if (account === undefined)
    return {
      severity: 'error',
      message: `is not the ARN of a role, such as ${examples[type] ?? ''}`,
    };
  if (type !== 'aws' || account.length === 12) return undefined;
  return {
    severity: 'warning',
    message: `has the account ${account}, of ${account.length} digits; accounts of AWS have 12`,
  };
}
