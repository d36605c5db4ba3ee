import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import type { Message } from './protobuf.ts';
import * as messages from './messages.ts';

/** The messages of proto/provider.proto in protobufjs. */
const root = protobuf.loadSync(join(import.meta.dirname, '../../proto/provider.proto'));

const text = fc.string({ unit: 'grapheme', maxLength: 300 });
const objectVersion = fc.record({ id: text, version: text });
const file = fc.record({
  path: text,
  mode: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  contents: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});
const samples = {
  VersionRequest: fc.record({ version: text }),
  VersionResponse: fc.record({ version: text, runtimeName: text, runtimeVersion: text }),
  MountRequest: fc.record({
    attributes: text,
    secrets: text,
    targetPath: text,
    permission: text,
    currentObjectVersion: fc.array(objectVersion),
  }),
  MountResponse: fc.record({
    objectVersion: fc.array(objectVersion),
    error: fc.option(fc.record({ code: text }), { nil: undefined }),
    files: fc.array(file),
  }),
};
const ownMessages = {
  VersionRequest: messages.versionRequest,
  VersionResponse: messages.versionResponse,
  MountRequest: messages.mountMessage,
  MountResponse: messages.mountResponse,
} as Record<keyof typeof samples, Message<object>>;
const names = Object.keys(samples) as (keyof typeof samples)[];

describe.each(names)('%s', (name) => {
  const type = root.lookupType(`v1alpha1.${name}`);
  const reference = {
    encode: (value: object) => Buffer.from(type.encode(type.fromObject(value)).finish()),
    decode: (bytes: Buffer): object => ({
      // protobufjs has null where Keyferry has undefined.
      ...Object.fromEntries(
        Object.entries(type.toObject(type.decode(bytes), { defaults: true, arrays: true })).map(
          ([key, value]) => [key, value ?? undefined],
        ),
      ),
    }),
  };
  const sample = samples[name] as fc.Arbitrary<object>;

  test('is compatible with protobufjs in both directions', () => {
    fc.assert(
      fc.property(sample, (value) => {
        expect(reference.decode(ownMessages[name].encode(value))).toEqual(value);
        expect(ownMessages[name].decode(reference.encode(value))).toEqual(value);
      }),
    );
  });

  test('is decoded as in protobufjs, or rejected, when it is truncated', () => {
    fc.assert(
      fc.property(sample, fc.nat(), (value, length) => {
        const bytes = reference.encode(value);
        const cut = bytes.subarray(0, length % (bytes.length + 1));
        expect(outcome(() => ownMessages[name].decode(cut))).toEqual(
          outcome(() => reference.decode(cut)),
        );
      }),
    );
  });

  test('is decoded as in protobufjs, or rejected, when a byte is changed', () => {
    fc.assert(
      fc.property(sample, fc.nat(), fc.nat(255), (value, place, byte) => {
        const bytes = reference.encode(value);
        bytes[place % bytes.length] = byte;
        const [own, expected] = [
          outcome(() => ownMessages[name].decode(bytes)),
          outcome(() => reference.decode(bytes)),
        ];
        // protobufjs rejects tags of more than five bytes, which no encoder writes. Keyferry skips
        // them.
        if (!('rejected' in expected)) expect(own).toEqual(expected);
      }),
      { numRuns: 1_000 },
    );
  });

  test('merges a message that occurs twice, as the protobuf encoding says', () => {
    fc.assert(
      fc.property(sample, sample, (one, other) => {
        const bytes = Buffer.concat([reference.encode(one), reference.encode(other)]);
        expect(ownMessages[name].decode(bytes)).toEqual(reference.decode(bytes));
      }),
    );
  });

  test('ignores unknown fields and keeps the others', () => {
    fc.assert(
      fc.property(sample, (value) => {
        const later = protobuf.Writer.create()
          .uint32((99 << 3) | 2)
          .string('new')
          .uint32(98 << 3)
          .int32(-1);
        const bytes = Buffer.concat([later.finish(), reference.encode(value), later.finish()]);
        expect(ownMessages[name].decode(bytes)).toEqual(value);
      }),
    );
  });
});

function outcome(decode: () => object): object {
  try {
    return decode();
  } catch {
    return { rejected: true };
  }
}
