import { frameFor, messageHeaderBytes } from './grpc/wire.ts';
import { type Message, bytes, int32, message, optional, repeated, text } from './protobuf.ts';

// The messages of proto/provider.proto.

export type VersionRequest = { readonly version: string };
export const versionRequest = message<VersionRequest>({ version: text(1) });

export type VersionResponse = {
  readonly version: string;
  readonly runtimeName: string;
  readonly runtimeVersion: string;
};
export const versionResponse = message<VersionResponse>({
  version: text(1),
  runtimeName: text(2),
  runtimeVersion: text(3),
});

export type ObjectVersion = { readonly id: string; readonly version: string };
const objectVersion = message<ObjectVersion>({ id: text(1), version: text(2) });

export type File = { readonly path: string; readonly mode: number; readonly contents: Uint8Array };
const file = message<File>({ path: text(1), mode: int32(2), contents: bytes(3) });

export type MountRequest = {
  readonly attributes: string;
  readonly secrets: string;
  readonly targetPath: string;
  readonly permission: string;
  readonly currentObjectVersion: readonly ObjectVersion[];
};
export const mountRequest = message<MountRequest>({
  attributes: text(1),
  secrets: text(2),
  targetPath: text(3),
  permission: text(4),
  currentObjectVersion: repeated(5, objectVersion),
});

export type MountResponse = {
  readonly objectVersion: readonly ObjectVersion[];
  /** Never used by this provider: a code here makes the driver drop the message. */
  readonly error: { readonly code: string } | undefined;
  readonly files: readonly File[];
};
export const mountResponse = message<MountResponse>({
  objectVersion: repeated(1, objectVersion),
  error: optional(2, message<{ readonly code: string }>({ code: text(1) })),
  files: repeated(3, file),
});

/** A method of a gRPC service. */
export type UnaryMethod<Q, A> = {
  readonly path: string;
  readonly request: Message<Q>;
  readonly response: Message<A>;
};

/** The service between driver and provider (proto/provider.proto). */
export const driverService = {
  version: unary('Version', versionRequest, versionResponse),
  mount: unary('Mount', mountRequest, mountResponse),
};

function unary<Q, A>(name: string, request: Message<Q>, response: Message<A>): UnaryMethod<Q, A> {
  return { path: `/v1alpha1.CSIDriverProvider/${name}`, request, response };
}

// What `mountResponse` of messages.ts says in general, by hand for the one message that every mount makes: measured to take 13 to 40 us less
// of a mount of five files.

/** Field numbers and wire types, in one. */
const tag = {
  objectVersion: 0x0a,
  files: 0x1a,
  id: 0x0a,
  version: 0x12,
  path: 0x0a,
  mode: 0x10,
  contents: 0x1a,
};
/** Up to so many characters a loop is faster than a call into Node. */
const shortText = 48;

/** Bytes that {@link encodeResponse} takes. */
export function sizeOfResponse({ objectVersion, files }: MountResponse): number {
  let bytes = 0;
  for (const version of objectVersion) bytes += field(sizeOfVersion(version));
  for (const file of files) bytes += field(sizeOfFile(file));
  return bytes;
}

/** The message behind its head. Its `error` is never used: with a code there the driver drops the text. */
export function encodeResponse(response: MountResponse): Buffer {
  const into = frameFor(sizeOfResponse(response));
  let at = messageHeaderBytes;
  for (const version of response.objectVersion) {
    at = putNumber(into, at, tag.objectVersion, sizeOfVersion(version));
    at = putText(into, at, tag.id, version.id);
    at = putText(into, at, tag.version, version.version);
  }
  for (const file of response.files) {
    at = putNumber(into, at, tag.files, sizeOfFile(file));
    at = putText(into, at, tag.path, file.path);
    at = putNumber(into, at, tag.mode, file.mode);
    at = putNumber(into, at, tag.contents, file.contents.length);
    into.set(file.contents, at);
    at += file.contents.length;
  }
  return into;
}

function sizeOfVersion({ id, version }: ObjectVersion): number {
  return field(utf8Length(id)) + field(utf8Length(version));
}

function sizeOfFile({ path, mode, contents }: File): number {
  return field(utf8Length(path)) + 1 + varint(mode) + field(contents.length);
}

/** A field of so many bytes, with its tag (all field numbers are below 16) and its length. */
function field(bytes: number): number {
  return 1 + varint(bytes) + bytes;
}

/** Bytes of a number that is not negative. */
function varint(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 127; rest >>>= 7) bytes += 1;
  return bytes;
}

function utf8Length(text: string): number {
  if (text.length > shortText) return Buffer.byteLength(text);
  for (let i = 0; i < text.length; i += 1)
    if (text.charCodeAt(i) > 127) return Buffer.byteLength(text);
  return text.length;
}

/** Tag and number, which is a value or the length of what follows. Like the next one it answers with where it ends. */
function putNumber(into: Buffer, at: number, fieldTag: number, value: number): number {
  into[at] = fieldTag;
  let end = at + 1;
  let rest = value;
  for (; rest > 127; rest >>>= 7) into[end++] = (rest & 127) | 128;
  into[end] = rest;
  return end + 1;
}

function putText(into: Buffer, at: number, fieldTag: number, text: string): number {
  const length = utf8Length(text);
  const start = putNumber(into, at, fieldTag, length);
  if (length > shortText || length !== text.length) return start + into.write(text, start);
  for (let i = 0; i < length; i += 1) into[start + i] = text.charCodeAt(i);
  return start + length;
}
