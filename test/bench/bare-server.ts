import { serveBare } from './bare-grpc.ts';

/**
 * The baseline of the benchmark: only grpc-js, which returns the same files for every mount.
 * argv: socket path, number of files, bytes of each.
 */
const [socketPath = '', count = '1', size = '100'] = process.argv.slice(2);
const numbers = Array.from({ length: Number(count) }, (_, index) => index);
const files = numbers.map((n) => ({
  path: `secret-${n}`,
  mode: 0o644,
  contents: Buffer.alloc(Number(size), 'x'),
}));
const objectVersion = numbers.map((n) => ({ id: `secret-${n}`, version: 'v1' }));
serveBare(socketPath, () => ({ files, objectVersion }));
