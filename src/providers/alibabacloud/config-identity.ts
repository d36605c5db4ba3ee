import * as z from 'zod';
import { Redacted } from '../../core/redacted.ts';
import { type EnvReader, createSettingParser, findSetting } from '../shared/env.ts';
import { oidcProviderArnShape, roleArnShape } from './class/object-ref.ts';

const { parseSetting, settingError } = createSettingParser('alibabacloud');

const defaultTokenFile = '/var/run/secrets/tokens/csi-secrets-store-provider-alibabacloud';
const defaultSessionName = 'csi-secrets-store-provider-alibaba';
const sessionSecondsSchema = z.coerce.number().int().min(900).max(43_200);
const sessionNameSchema = z.string().regex(/^[\w.@=-]{2,64}$/);

/** The credentials of the shared identity, which serves pods without an identity of their own. */
export type SharedCredentialSource =
  /** STS gives a session of a role for the provider's own token. */
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

/** Reads the cluster's OIDC provider in RAM. @throws SecretError NOT_CONFIGURED */
export function readOidcProvider(get: EnvReader): string | undefined {
  const arn = findSetting(get, 'ALICLOUD_OIDC_PROVIDER_ARN');
  if (arn !== undefined)
    return parseSetting(
      arn,
      z.string().regex(oidcProviderArnShape),
      'an ARN such as acs:ram::1234567890:oidc-provider/ack-rrsa-c0123',
    );
  const account = get('ALICLOUD_ACCOUNT_ID');
  const cluster = get('ALICLOUD_CLUSTER_ID');
  if (account === undefined || cluster === undefined) return undefined;
  const builtArn = `acs:ram::${account}:oidc-provider/ack-rrsa-${cluster}`;
  if (oidcProviderArnShape.test(builtArn)) return builtArn;
  throw settingError(
    'ALICLOUD_ACCOUNT_ID or ALICLOUD_CLUSTER_ID',
    'is not valid',
    'the account is a number, the cluster the id of an ACK cluster',
  );
}

/**
 * Returns the first source that is configured, in the order of the vendor's provider.
 * @throws SecretError NOT_CONFIGURED
 */
export function readSharedCredentialSource(
  get: EnvReader,
  oidcProviderArn: string | undefined,
): SharedCredentialSource {
  const keys = readKeys(get);
  const roleArn = findSetting(get, 'ALICLOUD_ROLE_ARN');
  if (roleArn === undefined)
    return keys === undefined ? { kind: 'worker-role' } : { kind: 'keys', ...keys };
  const role = {
    roleArn: parseSetting(
      roleArn,
      z.string().regex(roleArnShape),
      'an ARN such as acs:ram::1234567890:role/reader',
    ),
    sessionName: parseSetting(
      {
        name: 'ALICLOUD_ROLE_SESSION_NAME',
        text: get('ALICLOUD_ROLE_SESSION_NAME') ?? defaultSessionName,
      },
      sessionNameSchema,
      '2 to 64 letters, digits and ".@-_="',
    ),
  };
  if (oidcProviderArn !== undefined) {
    const tokenFile = get('ALICLOUD_OIDC_TOKEN_FILE') ?? defaultTokenFile;
    return { kind: 'rrsa', ...role, oidcProviderArn, tokenFile };
  }
  // The role of the node is not a fallback: the operator names another role.
  if (keys === undefined)
    throw settingError(
      'ALICLOUD_ROLE_ARN',
      'is set, but nothing to assume the role with',
      'set ALICLOUD_OIDC_PROVIDER_ARN, or ACCESS_KEY_ID and SECRET_ACCESS_KEY',
    );
  const durationSeconds = parseSetting(
    {
      name: 'ALICLOUD_ROLE_SESSION_EXPIRATION',
      text: get('ALICLOUD_ROLE_SESSION_EXPIRATION') ?? '3600',
    },
    sessionSecondsSchema,
    'a number of seconds from 900 to 43200',
  );
  return { kind: 'keys-role', ...keys, ...role, durationSeconds };
}

function readKeys(get: EnvReader): { accessKeyId: string; accessKeySecret: Redacted } | undefined {
  const id = get('ACCESS_KEY_ID');
  const secret = get('SECRET_ACCESS_KEY');
  if (id === undefined && secret === undefined) return undefined;
  if (id === undefined || secret === undefined)
    throw settingError(
      id === undefined ? 'SECRET_ACCESS_KEY' : 'ACCESS_KEY_ID',
      `is set, but ${id === undefined ? 'ACCESS_KEY_ID' : 'SECRET_ACCESS_KEY'} is not`,
      'set both or none',
    );
  return { accessKeyId: id, accessKeySecret: new Redacted(secret) };
}
