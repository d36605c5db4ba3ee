// Original file: proto/provider.proto


export interface FileInput {
  'path'?: (string);
  'mode'?: (number);
  'contents'?: (Buffer | Uint8Array | string);
}

export interface File {
  'path': (string);
  'mode': (number);
  'contents': (Buffer);
}
