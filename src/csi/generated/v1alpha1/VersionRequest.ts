// Original file: proto/provider.proto


export interface VersionRequestInput {
  'version'?: (string);
}

export interface VersionRequest {
  'version': (string);
}
