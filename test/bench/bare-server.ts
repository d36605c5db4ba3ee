import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

/**
 * The baseline of the benchmark: only grpc-js, which returns the same files for every mount.
 * argv: socket path, number of files, bytes of each.
 */
const [socketPath = '', count = '1', size = '100'] = process.argv.slice(2);
const { v1alpha1 } = loadPackageDefinition(
  loadSync('proto/provider.proto', { defaults: true, arrays: true }),
) as unknown as { v1alpha1: { CSIDriverProvider: ServiceClientConstructor } };
const numbers = Array.from({ length: Number(count) }, (_, index) => index);
const files = numbers.map((n) => ({
  path: `secret-${n}`,
  mode: 0o644,
  contents: Buffer.alloc(Number(size), 'x'),
}));
const objectVersion = numbers.map((n) => ({ id: `secret-${n}`, version: 'v1' }));
const server = new Server();
server.addService(v1alpha1.CSIDriverProvider.service, {
  Version: (_: unknown, callback: (error: null, response: object) => void) =>
    callback(null, { version: 'v1alpha1' }),
  Mount: (_: unknown, callback: (error: null, response: object) => void) =>
    callback(null, { files, objectVersion }),
});
server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
});
process.on('SIGTERM', () => server.forceShutdown());
