import * as z from 'zod';
import type { JsonValue } from '../../plan/json-text.ts';
import { rawMembers } from './raw-members.ts';

/** What Vault puts around every answer (https://developer.hashicorp.com/vault/api-docs#api-operations). */
export type Envelope = {
  /** Empty: no lease, whatever `leaseSeconds` says. */
  readonly leaseId: string;
  readonly leaseSeconds: number;
  readonly renewable: boolean;
  /** The JSON text of an object, as it came; undefined: none, or null. */
  readonly data: string | undefined;
  /** Seconds for which a token or a wrapping that the answer holds beside `data` is good; 0: for ever. */
  readonly tokenSeconds: number | undefined;
  /** The accessor of a token that was made here and is a child of that which asked: it ends with it. */
  readonly child: string | undefined;
  /** For messages only. */
  readonly warnings: readonly string[];
  readonly errors: readonly string[];
  /** From 1.17 on: `kv`, `database`, ... */
  readonly mountType: string | undefined;
  /**
   * What users `jq`: the fields of the vendor's own provider in its order, `data` to the letter. Without the id of the request, so that it stands still
   * while the secret does.
   */
  readonly text: string;
};

const seconds = z.number().int().nonnegative();
/** A path and some twenty characters more: it is kept until the lease ends. */
const longestLease = 8_192;
const schema = z.object({
  lease_id: z.string().max(longestLease).nullish(),
  lease_duration: seconds.nullish(),
  renewable: z.boolean().nullish(),
  auth: z
    .object({
      lease_duration: seconds.nullish(),
      accessor: z.string().max(longestLease).nullish(),
      orphan: z.boolean().nullish(),
    })
    .nullish(),
  wrap_info: z.object({ ttl: seconds.nullish() }).nullish(),
  warnings: z.array(z.string()).nullish(),
  errors: z.array(z.string()).nullish(),
  mount_type: z.string().nullish(),
});

/**
 * Takes an answer apart; undefined where it is none of Vault's.
 * @param json `text`, parsed
 */
export function readEnvelope(text: string, json: JsonValue): Envelope | undefined {
  const parsed = schema.safeParse(json);
  const raw = rawMembers(text);
  const data = raw?.get('data') ?? 'null';
  if (!parsed.success || raw === undefined || !(data.startsWith('{') || data === 'null')) return undefined;
  const { lease_id, lease_duration, renewable, auth, wrap_info, ...rest } = parsed.data;
  const fields: readonly (readonly [key: string, text: string])[] = [
    ['request_id', '""'],
    ['lease_id', JSON.stringify(lease_id ?? '')],
    ['lease_duration', String(lease_duration ?? 0)],
    ['renewable', String(renewable ?? false)],
    ['data', data],
    ['warnings', raw.get('warnings') ?? 'null'],
    ...(auth ? [['auth', raw.get('auth') ?? 'null'] as const] : []),
    ...(wrap_info ? [['wrap_info', raw.get('wrap_info') ?? 'null'] as const] : []),
  ];
  return {
    leaseId: lease_id ?? '',
    leaseSeconds: lease_duration ?? 0,
    renewable: renewable ?? false,
    data: data === 'null' ? undefined : data,
    tokenSeconds: auth?.lease_duration ?? wrap_info?.ttl ?? undefined,
    child: auth?.orphan === false ? (auth.accessor ?? undefined) : undefined,
    warnings: rest.warnings ?? [],
    errors: rest.errors ?? [],
    mountType: rest.mount_type ?? undefined,
    text: `{${fields.map(([key, value]) => `"${key}":${value}`).join(',')}}`,
  };
}
