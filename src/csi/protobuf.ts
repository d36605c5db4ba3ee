import { Reader, Writer } from 'protobufjs/minimal.js';

/** Converts a protobuf message between an object and its bytes. */
export type Message<T> = {
  encode(value: T): Buffer;
  /**
   * As in proto3, a missing field has the default of its type, and an unknown field is skipped.
   * @throws Error if the bytes are not such a message
   */
  decode(bytes: Uint8Array): T;
  /** For a message inside another one. */
  readonly part: {
    write(writer: Writer, value: T): void;
    /** @param previous an earlier occurrence of the message, which the new one is merged into */
    read(reader: Reader, end: number, previous?: T): T;
  };
};

/** One field: its tag (field number and wire type), and how its value is read and written. */
export type Field<V> = {
  readonly tag: number;
  readonly initial: () => V;
  /** @param previous the value read so far, for a field that occurs several times */
  readonly read: (reader: Reader, previous: V) => V;
  readonly write: (writer: Writer, value: V) => void;
};

const [varint, lengthDelimited] = [0, 2];

/** Defines a message by its fields. */
export function message<T extends object>(fields: {
  readonly [K in keyof T]-?: Field<T[K]>;
}): Message<T> {
  const named = Object.entries(fields) as [string, Field<unknown>][];
  const byTag = new Map(named.map(([name, field]) => [field.tag, { name, field }]));

  function write(writer: Writer, value: T): void {
    for (const [name, field] of named)
      field.write(writer, (value as Record<string, unknown>)[name]);
  }

  function read(reader: Reader, end: number, previous?: T): T {
    const found: Record<string, unknown> = { ...previous };
    if (previous === undefined) for (const [name, { initial }] of named) found[name] = initial();
    while (reader.pos < end) {
      const tag = reader.uint32();
      const known = byTag.get(tag);
      if (known === undefined) reader.skipType(tag & 7, 0, tag >>> 3);
      else found[known.name] = known.field.read(reader, found[known.name]);
    }
    if (reader.pos !== end) throw new RangeError('a field ends beyond its message');
    return found as T;
  }

  return {
    encode(value) {
      const writer = Writer.create();
      write(writer, value);
      return writer.finish() as Buffer;
    },
    decode: (bytes) => read(Reader.create(bytes), bytes.length),
    part: { write, read },
  };
}

export function text(number: number): Field<string> {
  const tag = tagOf(number, lengthDelimited);
  return {
    tag,
    initial: () => '',
    read: (reader) => reader.stringVerify(),
    write: (writer, value) => writer.uint32(tag).string(value),
  };
}

export function bytes(number: number): Field<Uint8Array> {
  const tag = tagOf(number, lengthDelimited);
  return {
    tag,
    initial: () => new Uint8Array(0),
    read: (reader) => reader.bytes(),
    write: (writer, value) => writer.uint32(tag).bytes(value),
  };
}

export function int32(number: number): Field<number> {
  const tag = tagOf(number, varint);
  return {
    tag,
    initial: () => 0,
    read: (reader) => reader.int32(),
    write: (writer, value) => writer.uint32(tag).int32(value),
  };
}

export function repeated<T>(number: number, of: Message<T>): Field<readonly T[]> {
  const one = optional(number, of);
  return {
    tag: one.tag,
    initial: () => [],
    read(reader, previous) {
      (previous as T[]).push(one.read(reader, undefined) as T);
      return previous;
    },
    write: (writer, values) => values.forEach((value) => one.write(writer, value)),
  };
}

export function optional<T>(number: number, of: Message<T>): Field<T | undefined> {
  const tag = tagOf(number, lengthDelimited);
  return {
    tag,
    initial: () => undefined,
    read(reader, previous) {
      const length = reader.uint32();
      return of.part.read(reader, reader.pos + length, previous);
    },
    write(writer, value) {
      if (value === undefined) return;
      of.part.write(writer.uint32(tag).fork(), value);
      writer.ldelim();
    },
  };
}

function tagOf(number: number, wireType: number): number {
  return (number << 3) | wireType;
}
