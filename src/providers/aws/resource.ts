/**
 * How a policy names an object, for hints: `arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-??????`.
 * @param name as it is sent; an ARN stands for itself
 * @param account `*` where it is not known
 */
export function resourceOf(
  service: 'secretsmanager' | 'ssm',
  region: string,
  account: string,
  name: string,
): string {
  if (name.startsWith('arn:')) return name;
  const owner = /^\d{12}$/.test(account) ? account : '*';
  const tail = service === 'ssm' ? `parameter/${name.replace(/^\//, '')}` : `secret:${name}-??????`;
  return `arn:${partitionOf(region)}:${service}:${region}:${owner}:${tail}`;
}

function partitionOf(region: string): string {
  if (region.startsWith('cn-')) return 'aws-cn';
  return region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
}
