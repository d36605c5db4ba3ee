import { X509Certificate } from 'node:crypto';
import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { Redacted } from '../../core/redacted.ts';
import type { FetchResult, SecretValue } from '../../core/provider.ts';
import { sanitizeExternalText, sanitizeUserText } from '../../core/safe-text.ts';
import { sanitizeStoreText } from '../shared/reads/store-errors.ts';
import type { VaultResponse } from './call/api.ts';
import { describePath, productName } from './describe.ts';
import type { VaultLogin } from './types.ts';
import { tokenLeasePrefix } from './leases.ts';
import { readPlainResponse } from './plain-response.ts';
import { type Envelope, type KvVersion, findDocument, parseEnvelope } from './envelope.ts';

const certificateSchema = z.object({ certificate: z.string() });

/**
 * When the certificate in the field `certificate` ends, in milliseconds since the epoch. It is PEM
 * or the base64 of DER, as the `pki` engine issues it.
 * @param document JSON text
 * @returns undefined where there is no certificate that can be read
 */
function certificateExpiry(document: string): number | undefined {
  const { success, data } = certificateSchema.safeParse(JSON.parse(document));
  if (!success) return undefined;
  const { certificate } = data;
  try {
    const isPem = certificate.includes('-----BEGIN');
    const { validTo } = new X509Certificate(
      isPem ? certificate : Buffer.from(certificate, 'base64'),
    );
    const expiry = Date.parse(validTo);
    return Number.isNaN(expiry) ? undefined : expiry;
  } catch {
    return undefined;
  }
}

/** The request that a response belongs to. */
export type ReadContext = {
  readonly ref: SecretRef;
  readonly login: Pick<VaultLogin, 'dialect' | 'isHost'>;
  /** The token of the request. A response can repeat it; no message may. */
  readonly token: Redacted;
  /** Milliseconds since the epoch. */
  readonly sentAt: number;
};

/**
 * Parses the response to a read. The body of a 404 decides between a missing secret, a deleted
 * version and a wrong path.
 * @throws SecretError STORE_ANSWER_INVALID
 */
export function parseReadResponse(response: VaultResponse, context: ReadContext): FetchResult {
  const { ref, login } = context;
  const [product, path] = [productName(login), describePath({ path: ref.name })];
  const operation = `${ref.method ?? 'GET'} ${path}`;
  const fieldName = login.isHost === true ? 'the field' : 'secretKey';
  const plain = readPlainResponse(response, { path, operation, product, fieldName });
  if (plain !== undefined) return plain;
  const json = response.json();
  const envelope = parseEnvelope(new TextDecoder().decode(response.body), json);
  if (envelope === undefined) {
    throw new SecretError(
      'STORE_ANSWER_INVALID',
      `the response to ${operation} does not look like one from ${product}`,
      { hint: `check that the address is that of ${product}` },
    );
  }
  if (response.status === 404) return toNotFoundResult(envelope, product, context);
  if (envelope.data === undefined && envelope.tokenTtlSeconds === undefined) {
    return toAbsentResult(
      'OBJECT_NOT_FOUND',
      `${product} sent a response to ${operation} without data${formatMessages(envelope.warnings, context)}`,
      {
        hint: 'check the path and the method: does it return anything?',
      },
    );
  }
  return { kind: 'value', value: toSecretValue(envelope, context) };
}

/** The file of a class is the whole envelope. On a host a secret is its data alone. */
function toSecretValue(envelope: Envelope, { ref, login, sentAt }: ReadContext): SecretValue {
  const { data = '{}', leaseId, leaseSeconds, renewable, childTokenAccessor: child } = envelope;
  const { text, kv2 } = findDocument(data);
  const isPlainRead = (ref.method ?? 'GET') === 'GET' && ref.body === undefined;
  const common =
    login.isHost === true
      ? { bytes: Buffer.from(kv2 === undefined ? data : text), document: text }
      : { bytes: Buffer.from(envelope.text), document: text, envelope: true };
  if (leaseId !== '') {
    return {
      ...common,
      lease: { id: leaseId, renewable, expiresAt: sentAt + leaseSeconds * 1_000 },
    };
  }
  const expiry = expiryOf(envelope, text, isPlainRead, sentAt);
  // This is a lease, too, but it cannot be extended. Its parent token is kept for it.
  if (child !== undefined && expiry !== undefined)
    return {
      ...common,
      lease: { id: tokenLeasePrefix + child, renewable: false, expiresAt: expiry },
    };
  return {
    ...common,
    ...(kv2 && { version: kv2.number, modified: kv2.createdTime }),
    ...(expiry !== undefined && { expiresAt: expiry }),
    ...(isPlainRead && (kv2 !== undefined || isKv1(envelope)) && { shareable: true }),
  };
}

/**
 * When a value without a lease ends. A plain read of a certificate (of the authority itself) issues
 * nothing: the certificate can be replaced at any time.
 */
function expiryOf(
  { tokenTtlSeconds: tokenSeconds }: Envelope,
  document: string,
  isPlainRead: boolean,
  sentAt: number,
): number | undefined {
  if (tokenSeconds !== undefined && tokenSeconds > 0) return sentAt + tokenSeconds * 1_000;
  return isPlainRead ? undefined : certificateExpiry(document);
}

/**
 * Of all engines, only KV version 1 sends a duration (its `ttl`, or the mount's default) without a
 * lease.
 */
function isKv1({ leaseSeconds, mountType }: Envelope): boolean {
  return mountType === undefined ? leaseSeconds > 0 : mountType === 'kv';
}

function toNotFoundResult(
  { data, errors, warnings }: Envelope,
  product: string,
  context: ReadContext,
): FetchResult {
  const path = describePath({ path: context.ref.name });
  const kv2 = data === undefined ? undefined : findDocument(data).kv2;
  if (kv2 !== undefined) return toDeletedVersionResult(kv2, path, context);
  if (warnings.length > 0) {
    const [mount = '', ...rest] = path.split('/');
    const message = `${path} is not how a KV engine of version 2 is read${formatMessages(warnings, context)}`;
    const hint = `add data/ after the mount: if that is ${mount}, ${[mount, 'data', ...rest].join('/')}`;
    return { kind: 'failed', error: new SecretError('STORE_REFUSED_REQUEST', message, { hint }) };
  }
  if (errors.length > 0) {
    const message = `${product} serves nothing at ${path}${formatMessages(errors, context)}`;
    const hint = 'check the mount, the path and the namespace';
    return { kind: 'failed', error: new SecretError('STORE_REFUSED_REQUEST', message, { hint }) };
  }
  const version = versionOf(context.ref.name);
  if (version !== undefined)
    return toAbsentResult(
      'OBJECT_NOT_FOUND',
      `${product} has no version ${sanitizeUserText(version)} of ${path}`,
      {
        hint: 'remove ?version= for the current one, or name one that is there; check the path, too',
      },
    );
  return toAbsentResult('OBJECT_NOT_FOUND', `${product} has no ${path}`, {
    hint: missingPathHint(path),
  });
}

/** The version of a KV engine that a path names in its query. */
function versionOf(path: string): string | undefined {
  return new URLSearchParams(path.split('?')[1]).get('version') ?? undefined;
}

/** A path is often written for the other version of the KV engine. */
function missingPathHint(path: string): string {
  const [, mount, rest] = /^([^/]+)\/data\/([^?]+)/.exec(path) ?? [];
  const otherVersion =
    mount === undefined || rest === undefined
      ? 'a KV engine of version 2 has data/ after its mount'
      : `if ${mount} is a KV engine of version 1, leave out data/: ${mount}/${rest}`;
  return `check the path, letter case counts; ${otherVersion}`;
}

function toDeletedVersionResult(
  { number, deletionTime, destroyed }: KvVersion,
  path: string,
  { token }: Pick<ReadContext, 'token'>,
): FetchResult {
  if (destroyed)
    return toAbsentResult('OBJECT_NOT_FOUND', `version ${number} of ${path} was destroyed`, {
      hint: 'write it again',
    });
  const when =
    deletionTime === undefined ? '' : ` at ${sanitizeExternalText(deletionTime, [token.reveal()])}`;
  return toAbsentResult('OBJECT_DISABLED', `version ${number} of ${path} was deleted${when}`, {
    hint: 'undelete it (vault kv undelete), or write it again',
  });
}

function toAbsentResult(
  code: 'OBJECT_NOT_FOUND' | 'OBJECT_DISABLED',
  message: string,
  details: { hint: string },
): FetchResult {
  return { kind: 'absent', error: new SecretError(code, message, details) };
}

function formatMessages(texts: readonly string[], { token }: Pick<ReadContext, 'token'>): string {
  return texts.length === 0 ? '' : `: ${sanitizeStoreText(texts.join('; '), [token.reveal()])}`;
}
