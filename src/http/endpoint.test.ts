import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isSpecialHost } from './endpoint.ts';
import {
  classEndpoint,
  encodeSegment,
  parseEndpoint,
  regionEndpoint,
  regionHost,
} from './endpoint.ts';

const template = 'kms.{region}.myhuaweicloud.com';

function codeOf(run: () => unknown): string {
  try {
    run();
    return 'none';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

/** Spellings that some resolver or parser resolves to this machine or a metadata service. */
const hostileHosts = [
  'localhost',
  'LOCALHOST',
  'localhost.',
  'a.localhost',
  '127.0.0.1',
  '127.1',
  '127.0.0.1.',
  '0177.0.0.1',
  '0x7f.0.0.1',
  '0x7f000001',
  '2130706433',
  '017700000001',
  '0',
  '0.0.0.0',
  '169.254.169.254',
  '2852039166',
  '0xa9.0xfe.0xa9.0xfe',
  '①⑥⑨.254.169.254',
  '169。254。169。254',
  '100.100.100.200',
  '168.63.129.16',
  '[::1]',
  '[::]',
  '[0:0:0:0:0:0:0:1]',
  '[::ffff:127.0.0.1]',
  '[::ffff:7f00:1]',
  '[::ffff:a9fe:a9fe]',
  '[64:ff9b::a9fe:a9fe]',
  '[fe80::1]',
  '[fe80::1%25eth0]',
  '[fd00:ec2::254]',
  '[fd00:ec2::23]',
];

describe('the host of a region', () => {
  test('is built from the template', () => {
    expect(regionHost(template, 'cn-north-4')).toBe('kms.cn-north-4.myhuaweicloud.com');
    expect(regionEndpoint(template, 'eu-west-101').href).toBe(
      'https://kms.eu-west-101.myhuaweicloud.com/',
    );
    expect(regionHost('sts.{region}.{region}.example', 'my-kualalumpur-1')).toBe(
      'sts.my-kualalumpur-1.my-kualalumpur-1.example',
    );
  });

  test.each([
    '',
    'cn',
    'CN-NORTH-4',
    'cn-north-4.evil.example',
    'cn-north-4/',
    'cn_north',
    'c-1',
    'a-b-c-d-e-f',
    'cn-',
    '$&',
  ])('refuses the region "%s"', (region) =>
    expect(codeOf(() => regionHost(template, region))).toBe('INVALID_CLASS'),
  );

  test('stays in the domain of the vendor for every region', () => {
    const region = fc.oneof(
      fc.string({ unit: fc.constantFrom(...Array.from('cnorth-4.@/:#?%\\ \t\n①')) }),
      fc.string({ unit: 'binary' }),
      fc.stringMatching(/^[a-z]{2,}(-[a-z0-9]+){1,4}$/),
    );
    fc.assert(
      fc.property(region, (text) => {
        if (codeOf(() => regionHost(template, text)) !== 'none') return;
        expect(text).toMatch(/^[a-z]{2,}(-[a-z0-9]+){1,4}$/);
        expect(regionEndpoint(template, text).host).toBe(`kms.${text}.myhuaweicloud.com`);
      }),
    );
  });
});

describe('an endpoint of the operator', () => {
  test.each([
    ['iam.example.com', 'https://iam.example.com/'],
    ['iam.example.com:8443', 'https://iam.example.com:8443/'],
    ['https://IAM.example.com/', 'https://iam.example.com/'],
    ['https://iam.example.com:443', 'https://iam.example.com/'],
    ['127.0.0.1:8443', 'https://127.0.0.1:8443/'],
    ['[::1]:8443', 'https://[::1]:8443/'],
  ])('%s is %s', (text, href) => expect(parseEndpoint(text).href).toBe(href));

  test.each([
    '',
    'https://',
    'ftp://iam.example.com',
    'iam.example.com/v3',
    'iam.example.com?x=y',
    'iam.example.com#x',
    'iam.example.com:99999',
    'iam.example.com:',
    'iam example.com',
    'iam.example.com\n',
    '127.1',
    'bücher.example',
  ])('"%s" is rejected', (text) => {
    expect(codeOf(() => parseEndpoint(text, { allowHttp: true }))).toBe('NOT_CONFIGURED');
  });

  test('may be plain http only if allowed, and errors name the setting', () => {
    expect(parseEndpoint('http://127.0.0.1:80', { allowHttp: true }).origin).toBe(
      'http://127.0.0.1',
    );
    expect(() =>
      parseEndpoint('http://iam.example.com', { setting: 'HUAWEICLOUD_SDK_IAM_ENDPOINT' }),
    ).toThrow('HUAWEICLOUD_SDK_IAM_ENDPOINT "http://iam.example.com" is not https');
  });

  test('is not quoted if it contains a password', () => {
    expect(() => parseEndpoint('https://user:hunter2@iam.example.com')).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('hunter2') }),
    );
  });
});

describe('an endpoint of a class', () => {
  const allowed = [
    '*.cryptoservice.kms.aliyuncs.com',
    'vault.example:8200',
    'http://vault.shop:8200',
    '10.1.2.3',
  ];

  test.each([
    ['kst-1.cryptoservice.kms.aliyuncs.com', 'https://kst-1.cryptoservice.kms.aliyuncs.com'],
    [
      'https://KST-1.cryptoservice.kms.aliyuncs.com:443',
      'https://kst-1.cryptoservice.kms.aliyuncs.com',
    ],
    ['https://vault.example:8200', 'https://vault.example:8200'],
    ['http://vault.shop:8200', 'http://vault.shop:8200'],
    ['10.1.2.3', 'https://10.1.2.3'],
  ])('%s is listed', (text, origin) => expect(classEndpoint(text, allowed).origin).toBe(origin));

  test.each([
    'cryptoservice.kms.aliyuncs.com',
    'evilcryptoservice.kms.aliyuncs.com',
    'kst-1.cryptoservice.kms.aliyuncs.com:8443',
    'http://kst-1.cryptoservice.kms.aliyuncs.com',
    'kst-1.cryptoservice.kms.aliyuncs.com.evil.example',
    'vault.example',
    'http://vault.example:8200',
    'https://vault.shop:8200',
    '10.1.2.3:8200',
    'example.com',
  ])('%s is not', (text) =>
    expect(codeOf(() => classEndpoint(text, allowed))).toBe('NOT_ALLOWED_FROM_CLASS'),
  );

  test.each([
    'kst-1.cryptoservice.kms.aliyuncs.com@evil.example',
    'evil.example/.cryptoservice.kms.aliyuncs.com',
    'a\\b',
  ])('%s is rejected', (text) =>
    expect(codeOf(() => classEndpoint(text, allowed))).toBe('INVALID_CLASS'),
  );

  test.each(hostileHosts)('%s is rejected, with and without an entry that has no port', (host) => {
    for (const text of [host, `${host}:443`, `${host}:8200`, `https://${host}/`]) {
      expect(
        codeOf(() =>
          classEndpoint(text, [
            '*.localhost',
            'localhost',
            '127.0.0.1',
            '169.254.169.254',
            '[::1]',
          ]),
        ),
      ).toMatch(/^(INVALID_CLASS|NOT_ALLOWED_FROM_CLASS)$/);
    }
  });

  test('on this machine is allowed by its exact host and port', () => {
    expect(classEndpoint('http://127.0.0.1:8200', ['http://127.0.0.1:8200']).origin).toBe(
      'http://127.0.0.1:8200',
    );
    expect(classEndpoint('localhost:8200', ['localhost:8200']).origin).toBe(
      'https://localhost:8200',
    );
    expect(codeOf(() => classEndpoint('localhost:8201', ['localhost:8200']))).toBe(
      'NOT_ALLOWED_FROM_CLASS',
    );
  });

  test('with an invalid entry in the list is NOT_CONFIGURED', () => {
    for (const entry of ['*', 'https://x.example/path', '*.', '']) {
      expect(codeOf(() => classEndpoint('example.com', [entry]))).toBe('NOT_CONFIGURED');
    }
  });

  test('has an allowed origin, for every spelling', () => {
    const piece = fc.constantFrom(
      ...hostileHosts,
      'kst-1',
      '.cryptoservice.kms.aliyuncs.com',
      '.',
      '@',
      ':',
      '443',
      '/',
      '\\',
      '#',
      '?',
      '%2e',
      'https://',
      'http://',
      '\t',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 5 }), fc.string(), (pieces, tail) => {
        for (const text of [pieces.join(''), pieces.join('') + tail, tail]) {
          if (codeOf(() => classEndpoint(text, allowed)) !== 'none') continue;
          const url = classEndpoint(text, allowed);
          expect(isSpecialHost(url.hostname)).toBe(false);
          expect(url.href).toBe(`${url.origin}/`);
          expect(
            url.origin.endsWith('.cryptoservice.kms.aliyuncs.com') ||
              ['https://vault.example:8200', 'http://vault.shop:8200', 'https://10.1.2.3'].includes(
                url.origin,
              ),
          ).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('special hosts', () => {
  test('are this machine, its link and metadata services', () => {
    const parsed = hostileHosts
      .filter((host) => URL.canParse(`https://${host}`))
      .map((host) => new URL(`https://${host}`).hostname);
    expect(parsed.filter((host) => !isSpecialHost(host))).toEqual([]);
    const others = [
      '10.0.0.1',
      '172.16.0.1',
      '192.168.1.1',
      '100.64.0.1',
      '8.8.8.8',
      '[2001:db8::1]',
      '[fd12::1]',
      'localhost.example',
    ];
    expect(others.filter(isSpecialHost)).toEqual([]);
  });
});

describe('a segment of a path', () => {
  test('is percent-encoded according to RFC 3986', () => {
    expect(encodeSegment("a/b c%?#é'!()*~_-.")).toBe('a%2Fb%20c%25%3F%23%C3%A9%27%21%28%29%2A~_-.');
  });

  test.each(['', '.', '..', '\ud800'])('cannot be %j', (text) => {
    expect(codeOf(() => encodeSegment(text))).toBe('INVALID_CLASS');
  });

  test('stays one segment and can be decoded', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        if (codeOf(() => encodeSegment(text)) !== 'none') return;
        const { pathname, search, hash } = new URL(`https://h/v1/${encodeSegment(text)}/end`);
        expect([pathname.split('/').length, search, hash]).toEqual([4, '', '']);
        expect(decodeURIComponent(pathname.split('/')[2]!)).toBe(text);
      }),
    );
  });
});
