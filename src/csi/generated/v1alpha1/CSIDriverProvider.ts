// Original file: proto/provider.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { MountRequestInput as _v1alpha1_MountRequestInput, MountRequest as _v1alpha1_MountRequest } from '../v1alpha1/MountRequest.ts';
import type { MountResponseInput as _v1alpha1_MountResponseInput, MountResponse as _v1alpha1_MountResponse } from '../v1alpha1/MountResponse.ts';
import type { VersionRequestInput as _v1alpha1_VersionRequestInput, VersionRequest as _v1alpha1_VersionRequest } from '../v1alpha1/VersionRequest.ts';
import type { VersionResponseInput as _v1alpha1_VersionResponseInput, VersionResponse as _v1alpha1_VersionResponse } from '../v1alpha1/VersionResponse.ts';

export interface CSIDriverProviderClient extends grpc.Client {
  Mount(argument: _v1alpha1_MountRequestInput, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_v1alpha1_MountResponse>): grpc.ClientUnaryCall;
  Mount(argument: _v1alpha1_MountRequestInput, metadata: grpc.Metadata, callback: grpc.requestCallback<_v1alpha1_MountResponse>): grpc.ClientUnaryCall;
  Mount(argument: _v1alpha1_MountRequestInput, options: grpc.CallOptions, callback: grpc.requestCallback<_v1alpha1_MountResponse>): grpc.ClientUnaryCall;
  Mount(argument: _v1alpha1_MountRequestInput, callback: grpc.requestCallback<_v1alpha1_MountResponse>): grpc.ClientUnaryCall;
  mount(argument: _v1alpha1_MountRequestInput, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_v1alpha1_MountResponse>): grpc.ClientUnaryCall;
  mount(argument: _v1alpha1_MountRequestInput, metadata: grpc.Metadata, callback: grpc.requestCallback<_v1alpha1_MountResponse>): grpc.ClientUnaryCall;
  mount(argument: _v1alpha1_MountRequestInput, options: grpc.CallOptions, callback: grpc.requestCallback<_v1alpha1_MountResponse>): grpc.ClientUnaryCall;
  mount(argument: _v1alpha1_MountRequestInput, callback: grpc.requestCallback<_v1alpha1_MountResponse>): grpc.ClientUnaryCall;
  
  Version(argument: _v1alpha1_VersionRequestInput, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_v1alpha1_VersionResponse>): grpc.ClientUnaryCall;
  Version(argument: _v1alpha1_VersionRequestInput, metadata: grpc.Metadata, callback: grpc.requestCallback<_v1alpha1_VersionResponse>): grpc.ClientUnaryCall;
  Version(argument: _v1alpha1_VersionRequestInput, options: grpc.CallOptions, callback: grpc.requestCallback<_v1alpha1_VersionResponse>): grpc.ClientUnaryCall;
  Version(argument: _v1alpha1_VersionRequestInput, callback: grpc.requestCallback<_v1alpha1_VersionResponse>): grpc.ClientUnaryCall;
  version(argument: _v1alpha1_VersionRequestInput, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_v1alpha1_VersionResponse>): grpc.ClientUnaryCall;
  version(argument: _v1alpha1_VersionRequestInput, metadata: grpc.Metadata, callback: grpc.requestCallback<_v1alpha1_VersionResponse>): grpc.ClientUnaryCall;
  version(argument: _v1alpha1_VersionRequestInput, options: grpc.CallOptions, callback: grpc.requestCallback<_v1alpha1_VersionResponse>): grpc.ClientUnaryCall;
  version(argument: _v1alpha1_VersionRequestInput, callback: grpc.requestCallback<_v1alpha1_VersionResponse>): grpc.ClientUnaryCall;
  
}

export interface CSIDriverProviderHandlers extends grpc.UntypedServiceImplementation {
  Mount: grpc.handleUnaryCall<_v1alpha1_MountRequest, _v1alpha1_MountResponseInput>;
  
  Version: grpc.handleUnaryCall<_v1alpha1_VersionRequest, _v1alpha1_VersionResponseInput>;
  
}

export interface CSIDriverProviderDefinition extends grpc.ServiceDefinition {
  Mount: MethodDefinition<_v1alpha1_MountRequestInput, _v1alpha1_MountResponseInput, _v1alpha1_MountRequest, _v1alpha1_MountResponse>
  Version: MethodDefinition<_v1alpha1_VersionRequestInput, _v1alpha1_VersionResponseInput, _v1alpha1_VersionRequest, _v1alpha1_VersionResponse>
}
