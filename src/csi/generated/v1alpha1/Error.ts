// Original file: proto/provider.proto


export interface ErrorInput {
  'code'?: (string);
}

export interface Error {
  'code': (string);
}
