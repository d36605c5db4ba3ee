import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { CSIDriverProviderClient as _v1alpha1_CSIDriverProviderClient, CSIDriverProviderDefinition as _v1alpha1_CSIDriverProviderDefinition } from './v1alpha1/CSIDriverProvider.ts';
import type { ErrorInput as _v1alpha1_ErrorInput, Error as _v1alpha1_Error } from './v1alpha1/Error.ts';
import type { FileInput as _v1alpha1_FileInput, File as _v1alpha1_File } from './v1alpha1/File.ts';
import type { MountRequestInput as _v1alpha1_MountRequestInput, MountRequest as _v1alpha1_MountRequest } from './v1alpha1/MountRequest.ts';
import type { MountResponseInput as _v1alpha1_MountResponseInput, MountResponse as _v1alpha1_MountResponse } from './v1alpha1/MountResponse.ts';
import type { ObjectVersionInput as _v1alpha1_ObjectVersionInput, ObjectVersion as _v1alpha1_ObjectVersion } from './v1alpha1/ObjectVersion.ts';
import type { VersionRequestInput as _v1alpha1_VersionRequestInput, VersionRequest as _v1alpha1_VersionRequest } from './v1alpha1/VersionRequest.ts';
import type { VersionResponseInput as _v1alpha1_VersionResponseInput, VersionResponse as _v1alpha1_VersionResponse } from './v1alpha1/VersionResponse.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  v1alpha1: {
    CSIDriverProvider: SubtypeConstructor<typeof grpc.Client, _v1alpha1_CSIDriverProviderClient> & { service: _v1alpha1_CSIDriverProviderDefinition }
    Error: MessageTypeDefinition<_v1alpha1_ErrorInput, _v1alpha1_Error>
    File: MessageTypeDefinition<_v1alpha1_FileInput, _v1alpha1_File>
    MountRequest: MessageTypeDefinition<_v1alpha1_MountRequestInput, _v1alpha1_MountRequest>
    MountResponse: MessageTypeDefinition<_v1alpha1_MountResponseInput, _v1alpha1_MountResponse>
    ObjectVersion: MessageTypeDefinition<_v1alpha1_ObjectVersionInput, _v1alpha1_ObjectVersion>
    VersionRequest: MessageTypeDefinition<_v1alpha1_VersionRequestInput, _v1alpha1_VersionRequest>
    VersionResponse: MessageTypeDefinition<_v1alpha1_VersionResponseInput, _v1alpha1_VersionResponse>
  }
}

