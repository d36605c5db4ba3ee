import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createProxyChoice } from './proxy.ts';

const both = { httpsProxy: 'http://secure:3128', httpProxy: 'plain:3128' };

function isProxied(noProxy: string, url: string): boolean {
  return createProxyChoice({ ...both, noProxy })(new URL(url)) !== undefined;
}

describe('the choice of a proxy', () => {
  test('depends on the scheme; https never uses HTTP_PROXY', () => {
    const choose = createProxyChoice(both);
    expect(choose(new URL('https://kms.example.com'))?.host).toBe('secure:3128');
    expect(choose(new URL('http://kms.example.com'))?.host).toBe('plain:3128');
    expect(
      createProxyChoice({ httpProxy: 'plain:3128' })(new URL('https://kms.example.com')),
    ).toBeUndefined();
    expect(
      createProxyChoice({ httpsProxy: '', httpProxy: '' })(new URL('http://kms.example.com')),
    ).toBeUndefined();
  });

  test.each([
    'http://localhost',
    'https://127.0.0.1:8200',
    'https://127.9.9.9',
    'https://[::1]:8200',
  ])('never sends this machine by a proxy: %s', (url) => expect(isProxied('', url)).toBe(false));

  test.each([
    ['*', 'https://kms.example.com', false],
    ['example.com', 'https://example.com', false],
    ['example.com', 'https://kms.example.com', false],
    ['example.com', 'https://myexample.com', true],
    ['.example.com', 'https://kms.example.com', false],
    ['.example.com', 'https://example.com', true],
    ['*.example.com', 'https://kms.example.com', false],
    ['*.example.com', 'https://example.com', true],
    ['EXAMPLE.com', 'https://kms.example.com', false],
    ['kms.example.com:443', 'https://kms.example.com', false],
    ['kms.example.com:8443', 'https://kms.example.com', true],
    ['kms.example.com:80', 'http://kms.example.com', false],
    ['10.0.0.0/8', 'https://10.247.0.1', false],
    ['10.0.0.0/8', 'https://11.0.0.1', true],
    ['10.0.0.0/8', 'https://10.example.com', true],
    ['10.1.2.3', 'https://10.1.2.3:6443', false],
    ['10.1.2.3:6443', 'https://10.1.2.3', true],
    ['fd00::/8', 'https://[fd12::1]', false],
    ['[fd12::1]:8200', 'https://[fd12::1]:8200', false],
    ['fd12:0:0::1', 'https://[fd12::1]:8200', false],
    ['a.example, .svc  10.0.0.0/8', 'https://vault.shop.svc', false],
  ])('NO_PROXY=%s and %s: by the proxy %s', (noProxy, url, expected) => {
    expect(isProxied(noProxy, url)).toBe(expected);
  });

  test.each(['10.0.0.0/99', '10.0.0.0/', 'kms.example.com/8', '10.0.0.0/x'])(
    'refuses the network %s',
    (noProxy) => {
      expect(() => createProxyChoice({ noProxy })).toThrow(
        expect.objectContaining({
          code: 'NOT_CONFIGURED',
          message: expect.stringContaining(noProxy),
        }),
      );
    },
  );

  test('rejects an invalid proxy without quoting its password', () => {
    for (const httpsProxy of [
      'socks5://user:hunter2@proxy',
      'http://user:hunter2@:99999999',
      'user:hunter2@ ',
    ]) {
      expect(() => createProxyChoice({ httpsProxy })).toThrow(
        expect.objectContaining({
          code: 'NOT_CONFIGURED',
          message: expect.not.stringContaining('hunter2'),
        }),
      );
    }
  });

  test('accepts any other text', () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => !text.includes('/')),
        (noProxy) => {
          expect(typeof isProxied(noProxy, 'https://kms.example.com')).toBe('boolean');
        },
      ),
    );
  });
});
