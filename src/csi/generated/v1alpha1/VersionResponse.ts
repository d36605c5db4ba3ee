// Original file: proto/provider.proto


export interface VersionResponseInput {
  'version'?: (string);
  'runtimeName'?: (string);
  'runtimeVersion'?: (string);
}

export interface VersionResponse {
  'version': (string);
  'runtimeName': (string);
  'runtimeVersion': (string);
}
