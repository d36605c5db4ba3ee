// Original file: proto/provider.proto

import type { ObjectVersionInput as _v1alpha1_ObjectVersionInput, ObjectVersion as _v1alpha1_ObjectVersion } from '../v1alpha1/ObjectVersion.ts';

export interface MountRequestInput {
  'attributes'?: (string);
  'secrets'?: (string);
  'targetPath'?: (string);
  'permission'?: (string);
  'currentObjectVersion'?: (_v1alpha1_ObjectVersionInput)[];
}

export interface MountRequest {
  'attributes': (string);
  'secrets': (string);
  'targetPath': (string);
  'permission': (string);
  'currentObjectVersion': (_v1alpha1_ObjectVersion)[];
}
