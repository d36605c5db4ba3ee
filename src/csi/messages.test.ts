import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import type { Message } from './protobuf.ts';
import * as messages from './messages.ts';

/** protobufjs, with the messages of proto/provider.proto. */
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
  MountRequest: messages.mountRequest,
  MountResponse: messages.mountResponse,
} as Record<keyof typeof samples, Message<object>>;
const names = Object.keys(samples) as (keyof typeof samples)[];

describe.each(names)('%s', (name) => {
  const type = root.lookupType(`v1alpha1.${name}`);
  const theirs = {
    encode: (value: object) => Buffer.from(type.encode(type.fromObject(value)).finish()),
    decode: (bytes: Buffer): object => ({
      // What protobufjs calls null is undefined here.
      ...Object.fromEntries(
        Object.entries(type.toObject(type.decode(bytes), { defaults: true, arrays: true })).map(
          ([key, value]) => [key, value ?? undefined],
        ),
      ),
    }),
  };
  const sample = samples[name] as fc.Arbitrary<object>;

  test('is written so that protobufjs reads it, and the other way round', () => {
    fc.assert(
      fc.property(sample, (value) => {
        expect(theirs.decode(ownMessages[name].encode(value))).toEqual(value);
        expect(ownMessages[name].decode(theirs.encode(value))).toEqual(value);
      }),
    );
  });

  test('cut off is read as protobufjs reads it, or refused', () => {
    fc.assert(
      fc.property(sample, fc.nat(), (value, length) => {
        const bytes = theirs.encode(value);
        const cut = bytes.subarray(0, length % (bytes.length + 1));
        expect(outcome(() => ownMessages[name].decode(cut))).toEqual(
          outcome(() => theirs.decode(cut)),
        );
      }),
    );
  });

  test('garbled is refused, or read as protobufjs reads it', () => {
    fc.assert(
      fc.property(sample, fc.nat(), fc.nat(255), (value, place, byte) => {
        const bytes = theirs.encode(value);
        bytes[place % bytes.length] = byte;
        const [mine, other] = [
          outcome(() => ownMessages[name].decode(bytes)),
          outcome(() => theirs.decode(bytes)),
        ];
        // It refuses tags of more than five bytes, which nobody writes; ours are skipped with their fields.
        if (!('refused' in other)) expect(mine).toEqual(other);
      }),
      { numRuns: 1_000 },
    );
  });

  test('with fields of a later version loses only those', () => {
    fc.assert(
      fc.property(sample, (value) => {
        const later = protobuf.Writer.create()
          .uint32((99 << 3) | 2)
          .string('new')
          .uint32(98 << 3)
          .int32(-1);
        const bytes = Buffer.concat([later.finish(), theirs.encode(value), later.finish()]);
        expect(ownMessages[name].decode(bytes)).toEqual(value);
      }),
    );
  });
});

function outcome(decode: () => object): object {
  try {
    return decode();
  } catch {
    return { refused: true };
  }
}
