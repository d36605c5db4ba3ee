import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { replaceAuthority } from './hpack.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const path = '0f 2f 70 72 6f 76 69 64 65 72 73 2f 63 63 65 2e'; // 15 bytes without Huffman coding: /providers/cce.

/**
 * The first block of driver 1.5.6, as its gRPC library writes it. The socket is
 * /tmp/providers/cce.sock.
 */
const first156 = {
  before: '8386459963b84745738c2bdedd92fd86ee5b35d87ee690b631a0f6d49f41',
  authority: '955458534d6a8b0d761fb9a42d8854584842ae8393af',
  after:
    '5f901d75d0620d263d4c4d6564ff75d8749f7a9b220cb20a4b0a942c849ec2b1dc2bb6bb8a4d65645a63b015dd12e040027465864d833505b11f40899acac8b24d494f6a7f85085f7df7a9',
};

describe('the authority of a header block', () => {
  test('becomes localhost in the first block of driver 1.5.6', () => {
    const { before, authority, after } = first156;
    expect(replaceAuthority(hex(before + authority + after))?.toString('hex')).toBe(
      `${before}86a0e41d139d09${after}`,
    );
  });

  test('stays as it is in the first block of driver 1.6.0', () => {
    const { before, after } = first156;
    expect(replaceAuthority(hex(`${before}86a0e41d139d09${after}`))).toBeUndefined();
  });

  test('stays as it is when the dynamic table holds it', () => {
    // The second block of either driver: everything except the timeout is indexed.
    expect(replaceAuthority(hex('8386c3c2c1c0bf7e850880065da7'))).toBeUndefined();
  });

  test.each([
    ['is added to the table', '41'],
    ['is not added to the table', '01'],
    ['is never added to a table', '11'],
  ])('keeps its representation: a literal that %s', (_, representation) => {
    expect(replaceAuthority(hex(`83 ${representation} ${path} 86`))?.toString('hex')).toBe(
      `83${representation}86a0e41d139d0986`,
    );
  });

  test('is found after table sizes, new names and integers of several bytes', () => {
    const before = [
      '3f e1 1f', // the table's size: 4096
      '40 02 74 65 86 4d 83 35 05 b1 1f', // a new name
      'ff 80 01', // an indexed field: 255
      '7f 40 01 61', // a literal with name 127
      '0f 2f 01 61', // one with name 62, not added to the table
    ].join(' ');
    expect(replaceAuthority(hex(`${before} 41 ${path} 83`))).toEqual(
      hex(`${before} 41 86a0e41d139d09 83`),
    );
  });

  test('is found when the length of its value takes several bytes', () => {
    const long = Buffer.concat([hex('41 7f 21'), Buffer.alloc(160, 'a'), hex('83')]);
    expect(replaceAuthority(long)).toEqual(hex('41 86a0e41d139d09 83'));
  });

  test('stays as it is when localhost would be longer, which could make the tables differ', () => {
    expect(replaceAuthority(hex('41 08 2f 61 2f 62 2e 73 6f 63'))).toBeUndefined();
    expect(replaceAuthority(hex('41 87 01 02 03 04 05 06 07'))).toBeUndefined();
    expect(replaceAuthority(hex('41 09 2f 61 2f 62 2e 73 6f 63 6b'))).toEqual(
      hex('41 86a0e41d139d09'),
    );
    expect(replaceAuthority(hex('41 88 01 02 03 04 05 06 07 08'))).toEqual(
      hex('41 86a0e41d139d09'),
    );
  });

  test.each([
    ['a truncated name', '40'],
    ['a truncated value', '41'],
    ['a value longer than the block', '41 7e 61'],
    ['a truncated integer', 'ff ff'],
    ['an oversized integer', 'ff ff ff ff ff ff 01'],
    ['a valid authority before an invalid end', `41 ${path} 41 7e 61`],
  ])('stays as it is in an invalid block: %s', (_, block) => {
    expect(replaceAuthority(hex(block))).toBeUndefined();
  });

  test('never makes a block longer and never throws, for any bytes', () => {
    const likely = fc.constantFrom(0x41, 0x01, 0x11, 0x40, 0x83, 0x09, 0x88, 0x7f, 0xff, 0x3f);
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fc.oneof(likely, fc.nat(255)), { maxLength: 80 }),
    );
    fc.assert(
      fc.property(bytes, (block) => {
        const replaced = replaceAuthority(Buffer.from(block));
        expect(replaced?.length ?? 0).toBeLessThanOrEqual(block.length);
      }),
      { numRuns: 2_000 },
    );
  });
});
