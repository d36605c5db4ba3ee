import { describe, expect, test } from '@jest/globals';
import { isPage, readPlainResponse } from './plain-response.ts';

const noStore = { 'cache-control': 'no-store' };
const pem = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----';

function read(path: string, body: string, headers: Record<string, string> = {}, status = 200) {
  const response = { status, headers, body: Buffer.from(body) };
  const names = { operation: `GET ${path}`, product: 'Vault', fieldName: 'secretKey' };
  return readPlainResponse(response, { path, ...names });
}

test.each([
  ['pki/ca_chain', 'application/pem-certificate-chain'],
  ['pki/ca/pem', 'application/pem-certificate-chain'],
  ['ssh/public_key', 'text/plain'],
])('the body of %s, which is %s, is the secret', (path, contentType) => {
  const result = read(path, pem, { ...noStore, 'content-type': contentType });
  expect(result).toMatchObject({ kind: 'value', value: { bytes: Buffer.from(pem) } });
});

test.each([
  ['pki/ca', 'pki/cert/ca'],
  ['pki/eu/ca/pem', 'pki/eu/cert/ca'],
  ['pki/ca_chain', 'pki/cert/ca_chain'],
  ['pki/crl/pem', 'pki/cert/crl'],
  ['pki/cert/0a-1b/raw/pem', 'pki/cert/0a-1b'],
  ['pki/issuer/root/pem', 'pki/issuer/root/json'],
  ['pki/issuer/root/crl/der', 'pki/issuer/root/crl'],
  ['ssh/public_key', 'ssh/config/ca'],
])('for keys of %s the remedy names %s', (path, jsonPath) => {
  expect(read(path, pem, noStore)).toMatchObject({
    value: { keysHint: `remove secretKey, or read ${jsonPath}` },
  });
});

test('for keys of another path the remedy is the whole response', () => {
  expect(read('sys/metrics', 'up 1', noStore)).toMatchObject({
    value: { keysHint: 'remove secretKey' },
  });
});

test('an empty response is an absent secret', () => {
  expect(read('pki/ca/pem', '', noStore, 204)).toMatchObject({
    kind: 'absent',
    error: {
      code: 'OBJECT_NOT_FOUND',
      message: 'Vault sent an empty response to GET pki/ca/pem',
    },
  });
});

describe('is not the secret:', () => {
  test.each([
    ['JSON', '{}', { ...noStore, 'content-type': 'application/json' }, 200],
    ['a text that may be stored, so that a proxy can be its origin', 'blocked', {}, 200],
    ['an empty response that may be stored', '', {}, 200],
    ['a page by its type', 'sign in', { ...noStore, 'content-type': 'text/html' }, 200],
    ['a page by its text', '\n<!DOCTYPE html><p>sign in', noStore, 200],
    ['an error', 'no', noStore, 404],
  ])('%s', (_, body, headers: Record<string, string>, status) => {
    expect(read('pki/ca', body, headers, status)).toBeUndefined();
  });
});

test('PEM and a key are no page', () => {
  expect(
    [pem, 'ssh-rsa AAAA'].map((text) => isPage({ headers: {}, body: Buffer.from(text) })),
  ).toEqual([false, false]);
});
