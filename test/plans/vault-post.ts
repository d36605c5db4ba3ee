import type { Plan, SecretRef } from '../../src/core/plan.ts';
import type { VaultLogin } from './vault-leased-read.ts';

/**
 * Reads with a method and a body. Two certificates of one path differ only in the body: a cache
 * without the body in its key would give both objects one certificate.
 */
const issue = (body: string): SecretRef => ({
  service: 'vault',
  name: 'pki/issue/web',
  endpoint: 'https://vault.example:8200',
  method: 'POST',
  body,
});

export const serverCertificate = issue('{"common_name":"app.example","ttl":"24h"}');
export const clientCertificate = issue(
  '{"common_name":"client.example","exclude_cn_from_sans":true,"max_path_length":10}',
);
export const randomBytes: SecretRef = {
  service: 'vault',
  name: 'sys/tools/random/4',
  endpoint: 'https://vault.example:8200',
  method: 'PUT',
  body: '{"format":"base64"}',
};

export const vaultPost: Plan<VaultLogin> = {
  refs: [serverCertificate, clientCertificate, randomBytes],
  files: [
    {
      path: 'server/tls.crt',
      sources: { value: { ref: serverCertificate, selector: { kind: 'key', key: 'certificate' } } },
      encoding: 'utf-8',
    },
    {
      path: 'server/tls.key',
      sources: { value: { ref: serverCertificate, selector: { kind: 'key', key: 'private_key' } } },
      encoding: 'utf-8',
      mode: 0o400,
    },
    {
      path: 'client/expiration',
      sources: { value: { ref: clientCertificate, selector: { kind: 'key', key: 'expiration' } } },
      encoding: 'utf-8',
    },
    {
      path: 'seed',
      sources: { value: { ref: randomBytes, selector: { kind: 'key', key: 'random_bytes' } } },
      encoding: 'base64',
    },
  ],
  login: { method: 'kubernetes', role: 'app', audience: 'vault', mountPath: 'kubernetes' },
};
