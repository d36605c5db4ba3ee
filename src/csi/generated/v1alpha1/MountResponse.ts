// Original file: proto/provider.proto

import type { ObjectVersionInput as _v1alpha1_ObjectVersionInput, ObjectVersion as _v1alpha1_ObjectVersion } from '../v1alpha1/ObjectVersion.ts';
import type { ErrorInput as _v1alpha1_ErrorInput, Error as _v1alpha1_Error } from '../v1alpha1/Error.ts';
import type { FileInput as _v1alpha1_FileInput, File as _v1alpha1_File } from '../v1alpha1/File.ts';

export interface MountResponseInput {
  'objectVersion'?: (_v1alpha1_ObjectVersionInput)[];
  'error'?: (_v1alpha1_ErrorInput | null);
  'files'?: (_v1alpha1_FileInput)[];
}

export interface MountResponse {
  'objectVersion': (_v1alpha1_ObjectVersion)[];
  'error': (_v1alpha1_Error | null);
  'files': (_v1alpha1_File)[];
}
