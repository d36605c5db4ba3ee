import { bytes, int32, message, optional, repeated, text } from './message.ts';

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
