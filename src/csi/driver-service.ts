import { loadPackageDefinition } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import { descriptor } from './generated/descriptor.ts';
import type { ProtoGrpcType } from './generated/provider.ts';

/** The interface between driver and provider: `service` for a server, `new` for a client. */
export type DriverService = ProtoGrpcType['v1alpha1']['CSIDriverProvider'];

/** Loads it; takes about 10 ms, so once a process. */
export function loadDriverService(): DriverService {
  const definition = fromJSON(descriptor as unknown as Parameters<typeof fromJSON>[0], {
    defaults: true,
    arrays: true,
  });
  return (loadPackageDefinition(definition) as unknown as ProtoGrpcType).v1alpha1.CSIDriverProvider;
}
