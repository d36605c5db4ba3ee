import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

/** What a baseline reads of a request. */
export type BareRequest = { readonly attributes: string };

/** Serves the driver's interface by grpc-js alone, until SIGTERM. */
export function serveBare(
  socketPath: string,
  mount: (request: BareRequest) => object | Promise<object>,
): void {
  const { v1alpha1 } = loadPackageDefinition(
    loadSync('proto/provider.proto', { defaults: true, arrays: true }),
  ) as unknown as { v1alpha1: { CSIDriverProvider: ServiceClientConstructor } };
  type Respond = (error: Error | null, response?: object) => void;
  const server = new Server();
  server.addService(v1alpha1.CSIDriverProvider.service, {
    Version: (_: unknown, respond: Respond) => respond(null, { version: 'v1alpha1' }),
    Mount({ request }: { readonly request: BareRequest }, respond: Respond): void {
      const response = mount(request);
      if (response instanceof Promise) void response.then((it) => respond(null, it), respond);
      else respond(null, response);
    },
  });
  server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
    if (error !== null) throw error;
  });
  process.on('SIGTERM', () => server.forceShutdown());
}
