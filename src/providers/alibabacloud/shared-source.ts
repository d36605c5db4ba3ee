import * as z from 'zod';
import { Redacted } from '../../errors/redacted.ts';
import { oidcProviderArnShape, roleArnShape } from './arn.ts';
import type { Get } from '../setting.ts';
import { checked, faulty } from './setting.ts';

/** Whose rights serve pods that bring no identity of their own: the first that is configured. */
export type SharedSource =
  /** The provider's own token, exchanged for a session of a role. */
  | {
      readonly kind: 'rrsa';
      readonly roleArn: string;
      readonly oidcProviderArn: string;
      readonly sessionName: string;
      readonly tokenFile: string;
    }
  | {
      readonly kind: 'keys-role';
      readonly accessKeyId: string;
      readonly accessKeySecret: Redacted;
      readonly roleArn: string;
      readonly sessionName: string;
      readonly durationSeconds: number;
    }
  | { readonly kind: 'keys'; readonly accessKeyId: string; readonly accessKeySecret: Redacted }
  | { readonly kind: 'worker-role' };

const tokenFile = '/var/run/secrets/tokens/csi-secrets-store-provider-alibabacloud';
const sessionSeconds = z.coerce.number().int().min(900).max(43_200);
const sessionName = z.string().regex(/^[\w.@=-]{2,64}$/);
const oidcForm = 'an ARN such as acs:ram::1234567890:oidc-provider/ack-rrsa-c0123';

/** The cluster's OIDC provider in RAM. @throws SecretError NOT_CONFIGURED */
export function readOidcProvider(get: Get): string | undefined {
  const arn = get('ALICLOUD_OIDC_PROVIDER_ARN');
  if (arn !== undefined)
    return checked('ALICLOUD_OIDC_PROVIDER_ARN', arn, z.string().regex(oidcProviderArnShape), oidcForm);
  const account = get('ALICLOUD_ACCOUNT_ID');
  const cluster = get('ALICLOUD_CLUSTER_ID');
  if (account === undefined || cluster === undefined) return undefined;
  const built = `acs:ram::${account}:oidc-provider/ack-rrsa-${cluster}`;
  if (oidcProviderArnShape.test(built)) return built;
  throw faulty(
    'ALICLOUD_ACCOUNT_ID or ALICLOUD_CLUSTER_ID',
    'is not what its name says',
    'the account is a number, the cluster the id of an ACK cluster',
  );
}

/** In the order of the vendor's provider. @throws SecretError NOT_CONFIGURED */
export function readSharedSource(get: Get, oidcProviderArn: string | undefined): SharedSource {
  const keys = readKeys(get);
  const roleArn = get('ALICLOUD_ROLE_ARN');
  if (roleArn === undefined) return keys === undefined ? { kind: 'worker-role' } : { kind: 'keys', ...keys };
  const role = {
    roleArn: checked(
      'ALICLOUD_ROLE_ARN',
      roleArn,
      z.string().regex(roleArnShape),
      'an ARN such as acs:ram::1234567890:role/reader',
    ),
    sessionName: checked(
      'ALICLOUD_ROLE_SESSION_NAME',
      get('ALICLOUD_ROLE_SESSION_NAME') ?? 'csi-secrets-store-provider-alibaba',
      sessionName,
      '2 to 64 letters, digits and ".@-_="',
    ),
  };
  if (oidcProviderArn !== undefined)
    return {
      ...{ kind: 'rrsa', ...role, oidcProviderArn },
      tokenFile: get('ALICLOUD_OIDC_TOKEN_FILE') ?? tokenFile,
    };
  // Whoever names a role does not mean that of the node.
  if (keys === undefined)
    throw faulty(
      'ALICLOUD_ROLE_ARN',
      'is set, but nothing to assume the role with',
      'set ALICLOUD_OIDC_PROVIDER_ARN, or ACCESS_KEY_ID and SECRET_ACCESS_KEY',
    );
  const seconds = get('ALICLOUD_ROLE_SESSION_EXPIRATION') ?? '3600';
  const durationSeconds = checked(
    'ALICLOUD_ROLE_SESSION_EXPIRATION',
    seconds,
    sessionSeconds,
    'a number of seconds from 900 to 43200',
  );
  return { kind: 'keys-role', ...keys, ...role, durationSeconds };
}

function readKeys(get: Get): { accessKeyId: string; accessKeySecret: Redacted } | undefined {
  const id = get('ACCESS_KEY_ID');
  const secret = get('SECRET_ACCESS_KEY');
  if (id === undefined && secret === undefined) return undefined;
  if (id === undefined || secret === undefined)
    throw faulty(
      id === undefined ? 'SECRET_ACCESS_KEY' : 'ACCESS_KEY_ID',
      `is set, but ${id === undefined ? 'ACCESS_KEY_ID' : 'SECRET_ACCESS_KEY'} is not`,
      'set both or none',
    );
  return { accessKeyId: id, accessKeySecret: new Redacted(secret) };
}
