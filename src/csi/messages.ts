import { Writer } from 'protobufjs/minimal.js';
import { frameFor, messageHeaderBytes } from './grpc/wire.ts';
import { type Message, bytes, int32, message, optional, repeated, text } from './protobuf.ts';

// The messages of proto/provider.proto.

/** The name with which Keyferry responds to `Version`. */
export const runtimeName = 'keyferry';

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
const fileFields = { path: text(1), mode: int32(2), contents: bytes(3) };

export type MountMessage = {
  readonly attributes: string;
  readonly secrets: string;
  readonly targetPath: string;
  readonly permission: string;
  readonly currentObjectVersion: readonly ObjectVersion[];
};
export const mountMessage = message<MountMessage>({
  attributes: text(1),
  secrets: text(2),
  targetPath: text(3),
  permission: text(4),
  currentObjectVersion: repeated(5, objectVersion),
});

export type MountResponse = {
  readonly objectVersion: readonly ObjectVersion[];
  /** This provider never sets it: with a code here, the driver drops the error message. */
  readonly error: { readonly code: string } | undefined;
  readonly files: readonly File[];
};
const responseFields = {
  objectVersion: repeated(1, objectVersion),
  error: optional(2, message<{ readonly code: string }>({ code: text(1) })),
  files: repeated(3, message<File>(fileFields)),
};
export const mountResponse = message<MountResponse>(responseFields);

/** A method of a gRPC service. */
export type UnaryMethod<Request, Response> = {
  readonly path: string;
  readonly request: Message<Request>;
  readonly response: Message<Response>;
};

/** The service between driver and provider (proto/provider.proto). */
export const driverService = {
  version: unary('Version', versionRequest, versionResponse),
  mount: unary('Mount', mountMessage, mountResponse),
};

function unary<Request, Response>(
  name: string,
  request: Message<Request>,
  response: Message<Response>,
): UnaryMethod<Request, Response> {
  return { path: `/v1alpha1.CSIDriverProvider/${name}`, request, response };
}

/**
 * A Mount response whose size is known and whose file contents are not copied yet. Every mount
 * encodes one response. {@link mountResponse} would copy each file several times, because the
 * writer of protobufjs grows its buffer and copies it in the end.
 */
export class PreparedResponse {
  /** The size of the message, without the prefix of gRPC. */
  readonly bytes: number;
  readonly #files: readonly File[];
  /** Everything except the contents of the files. */
  readonly #fields = Writer.create();
  /** Where the contents of each file belong in `#fields`. */
  readonly #contentsAt: number[] = [];

  /** Leaves out `error`: this provider never sets it. */
  constructor({ objectVersion: versions, files }: MountResponse) {
    const fields = this.#fields;
    responseFields.objectVersion.write(fields, versions);
    const file = Writer.create();
    let contentsBytes = 0;
    for (const { path, mode, contents } of files) {
      fileFields.path.write(file.reset(), path);
      fileFields.mode.write(file, mode);
      file.uint32(fileFields.contents.tag).uint32(contents.length);
      fields.uint32(responseFields.files.tag).uint32(file.pos + contents.length);
      fields.raw(file.finish(true));
      this.#contentsAt.push(fields.pos);
      contentsBytes += contents.length;
    }
    this.#files = files;
    this.bytes = fields.pos + contentsBytes;
  }

  /** The message with the prefix of gRPC. Copies the contents of each file once. */
  toFrame(): Buffer {
    const frame = frameFor(this.bytes);
    let start = 0;
    let at = messageHeaderBytes;
    this.#files.forEach(({ contents }, index) => {
      const end = this.#contentsAt[index] ?? start;
      frame.set(this.#fields.buf.subarray(start, end), at);
      frame.set(contents, at + end - start);
      at += end - start + contents.length;
      start = end;
    });
    frame.set(this.#fields.buf.subarray(start, this.#fields.pos), at);
    return frame;
  }
}
