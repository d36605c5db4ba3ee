import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { isIPv4 } from 'node:net';

/** A certificate authority made for a test. */
export type TestCa = {
  /** Its own certificate, PEM. */
  readonly cert: string;
  /**
   * A certificate and its key, both PEM, for a server (or a client) with these names and IPv4
   * addresses.
   */
  issue(options?: {
    readonly hosts?: readonly string[];
    readonly notBefore?: Date;
    readonly notAfter?: Date;
  }): CertificateAndKey;
  /** An authority under this one. */
  intermediate(name: string): TestCa;
};

export type CertificateAndKey = { readonly cert: string; readonly key: string };

/**
 * Creates a CA: X.509 v3 over P-256, valid for a day. It needs no openssl and no files, and takes a
 * millisecond. A client that trusts two CAs of the same name uses the first one for both.
 */
export function createTestCa(name = `Test CA ${randomBytes(4).toString('hex')}`): TestCa {
  return createAuthority(name, undefined);
}

type Issuer = { readonly name: string; readonly key: KeyObject };

function createAuthority(name: string, parent: Issuer | undefined): TestCa {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const self: Issuer = { name, key: privateKey };
  const extensions = [
    extension('551d13', true, sequence(tlv(0x01, Buffer.from([0xff])))), // basicConstraints: a CA
    extension('551d0f', true, tlv(0x03, Buffer.from('0106', 'hex'))), // keyUsage: signs certificates and CRLs
  ];
  return {
    cert: certificate({ subject: name, publicKey, issuer: parent ?? self, extensions }),
    issue({ hosts = ['localhost', '127.0.0.1'], ...validity } = {}) {
      const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const names = hosts.map((host) =>
        isIPv4(host)
          ? tlv(0x87, Buffer.from(host.split('.').map(Number)))
          : tlv(0x82, Buffer.from(host)),
      );
      return {
        cert: certificate({
          subject: hosts[0] ?? 'client',
          publicKey: pair.publicKey,
          issuer: self,
          extensions: [extension('551d11', false, sequence(...names))], // subjectAltName
          ...validity,
        }),
        key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      };
    },
    intermediate: (child) => createAuthority(child, self),
  };
}

/** RFC 5280, section 4.1, as far as OpenSSL requires it. */
function certificate(options: {
  subject: string;
  publicKey: KeyObject;
  issuer: Issuer;
  extensions: Buffer[];
  notBefore?: Date;
  notAfter?: Date;
}): string {
  const hour = 3_600_000;
  const { notBefore = new Date(Date.now() - hour), notAfter = new Date(Date.now() + 24 * hour) } =
    options;
  const ecdsaWithSha256 = sequence(tlv(0x06, Buffer.from('2a8648ce3d040302', 'hex')));
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))), // v3
    tlv(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ecdsaWithSha256,
    commonName(options.issuer.name),
    sequence(time(notBefore), time(notAfter)),
    commonName(options.subject),
    options.publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, sequence(...options.extensions)),
  );
  const signature = tlv(0x03, Buffer.from([0]), sign('sha256', body, options.issuer.key));
  const lines =
    sequence(body, ecdsaWithSha256, signature)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

function commonName(name: string): Buffer {
  return sequence(
    tlv(0x31, sequence(tlv(0x06, Buffer.from('550403', 'hex')), tlv(0x0c, Buffer.from(name)))),
  );
}

function extension(oid: string, critical: boolean, value: Buffer): Buffer {
  const flag = critical ? [tlv(0x01, Buffer.from([0xff]))] : [];
  return sequence(tlv(0x06, Buffer.from(oid, 'hex')), ...flag, tlv(0x04, value));
}

function time(date: Date): Buffer {
  return tlv(0x18, Buffer.from(`${date.toISOString().slice(0, 19).replace(/\D/g, '')}Z`));
}

function sequence(...parts: Buffer[]): Buffer {
  return tlv(0x30, ...parts);
}

/** As short as can be: Go takes no other. */
function derLength(length: number): number[] {
  if (length < 0x80) return [length];
  return length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
}

/** DER: tag, length, value. */
function tlv(tag: number, ...parts: Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag, ...derLength(value.length)]), value]);
}
