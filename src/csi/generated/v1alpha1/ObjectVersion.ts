// Original file: proto/provider.proto


export interface ObjectVersionInput {
  'id'?: (string);
  'version'?: (string);
}

export interface ObjectVersion {
  'id': (string);
  'version': (string);
}
