import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import type { SecretRef } from '../../plan/plan.ts';
import type { FetchResult, SecretValue } from '../provider.ts';
import type { VaultAnswer } from './api.ts';
import { endOfCertificate } from './certificate-life.ts';
import { findDocument, type KvVersion } from './document.ts';
import { readEnvelope, type Envelope } from './envelope.ts';

/** What is to be known of a question to judge its answer. */
export type Asked = {
  readonly ref: SecretRef;
  /** `vault` or `openbao`, for messages. */
  readonly dialect: string;
  /** Milliseconds since the epoch. */
  readonly askedAt: number;
};

/**
 * What Vault's answer to a read says.
 * @throws SecretError STORE_ANSWER_INVALID
 */
export function readAnswer(answer: VaultAnswer, asked: Asked): FetchResult {
  const name = nameOf(asked);
  const json = answer.json();
  const envelope = readEnvelope(new TextDecoder().decode(answer.body), json);
  if (envelope === undefined) {
    throw new SecretError('STORE_ANSWER_INVALID', `${name} was answered with something that is not Vault's`, {
      hint: 'check that the address is that of Vault, and no proxy answers in its place',
    });
  }
  if (answer.status === 404) return missing(envelope, name, asked.ref);
  if (envelope.data === undefined && envelope.tokenSeconds === undefined) {
    return absent('OBJECT_NOT_FOUND', `${name} was answered without data${quoteAll(envelope.warnings)}`, {
      hint: 'check the path and the method: does it return anything?',
    });
  }
  return { kind: 'value', value: valueOf(envelope, asked) };
}

function valueOf(envelope: Envelope, { ref, askedAt }: Asked): SecretValue {
  const { data = '{}', leaseId, leaseSeconds, renewable } = envelope;
  const { text, kv2 } = findDocument(data);
  const isPlainRead = (ref.method ?? 'GET') === 'GET' && ref.body === undefined;
  const common = { bytes: Buffer.from(envelope.text), document: text, envelope: true };
  if (leaseId !== '') {
    return { ...common, lease: { id: leaseId, renewable, expiresAt: askedAt + leaseSeconds * 1_000 } };
  }
  const end = endOf(envelope, text, isPlainRead, askedAt);
  return {
    ...common,
    ...(kv2 && { version: kv2.number, modified: kv2.createdTime }),
    ...(end !== undefined && { expiresAt: end }),
    ...(isPlainRead && (kv2 !== undefined || isKv1(envelope)) && { shareable: true }),
  };
}

/** When what was issued without a lease ends. A plain read of a certificate (the authority's own) issues none: it can be replaced at any time. */
function endOf(
  { tokenSeconds }: Envelope,
  document: string,
  isPlainRead: boolean,
  askedAt: number,
): number | undefined {
  if (tokenSeconds !== undefined && tokenSeconds > 0) return askedAt + tokenSeconds * 1_000;
  return isPlainRead ? undefined : endOfCertificate(document);
}

/** Of all engines, KV version 1 alone names a duration (its `ttl`, or the mount's default) where there is no lease. */
function isKv1({ leaseSeconds, mountType }: Envelope): boolean {
  return mountType === undefined ? leaseSeconds > 0 : mountType === 'kv';
}

function missing({ data, errors, warnings }: Envelope, name: string, { name: path }: SecretRef): FetchResult {
  const kv2 = data === undefined ? undefined : findDocument(data).kv2;
  if (kv2 !== undefined) return lost(kv2, name);
  if (warnings.length > 0) {
    const [mount = '', ...rest] = path.split('/');
    const message = `${name} is not how a KV engine of version 2 is read${quoteAll(warnings)}`;
    const hint = `add data/ after the mount: if that is ${quoteForeign(mount)}, ${quoteForeign([mount, 'data', ...rest].join('/'))}`;
    return { kind: 'failed', error: new SecretError('STORE_REFUSED_REQUEST', message, { hint }) };
  }
  if (errors.length > 0) {
    const message = `${name} is no path that Vault serves${quoteAll(errors)}`;
    const hint = 'check the mount, the path and the namespace';
    return { kind: 'failed', error: new SecretError('STORE_REFUSED_REQUEST', message, { hint }) };
  }
  return absent('OBJECT_NOT_FOUND', `${name} does not exist`, {
    hint: 'check the path, letter case counts; a KV engine of version 2 has data/ after its mount',
  });
}

function lost({ number, deletionTime, destroyed }: KvVersion, name: string): FetchResult {
  if (destroyed)
    return absent('OBJECT_NOT_FOUND', `version ${number} of ${name} was destroyed`, {
      hint: 'write it anew',
    });
  const when = deletionTime === undefined ? '' : ` at ${quoteForeign(deletionTime)}`;
  return absent('OBJECT_DISABLED', `version ${number} of ${name} was deleted${when}`, {
    hint: 'undelete it (vault kv undelete), or write it anew',
  });
}

function absent(
  code: 'OBJECT_NOT_FOUND' | 'OBJECT_DISABLED',
  message: string,
  details: { hint: string },
): FetchResult {
  return { kind: 'absent', error: new SecretError(code, message, details) };
}

function nameOf({ ref, dialect }: Asked): string {
  return `${dialect}: ${ref.method ?? 'GET'} ${quoteForeign(ref.name)}`;
}

function quoteAll(texts: readonly string[]): string {
  return texts.length === 0 ? '' : `: ${quoteForeign(texts.join('; '))}`;
}
