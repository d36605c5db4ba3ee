import { createHash } from 'node:crypto';

const longest = 64;

/**
 * The name of a session, as CloudTrail shows it: `<namespace>.<account>`. STS takes `[\w+=,.@-]{2,64}`; of what is longer the end is a digest, so
 * that two accounts never share one name.
 */
export function sessionNameOf(namespace: string, serviceAccount: string): string {
  const whole = `${namespace}.${serviceAccount}`;
  const name = whole.replace(/[^\w+=,.@-]/g, '-');
  if (name === whole && name.length <= longest) return name;
  const digest = createHash('sha256').update(whole).digest('hex').slice(0, 8);
  return `${name.slice(0, longest - 1 - digest.length)}-${digest}`;
}
