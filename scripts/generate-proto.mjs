// Writes src/csi/generated/ from proto/provider.proto: the messages' types, and the descriptor as a module, so that the one-file product reads no
// .proto when it runs. `node scripts/generate-proto.mjs [folder]`
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const project = fileURLToPath(new URL('..', import.meta.url));
const folder = process.argv[2] ?? join(project, 'src/csi/generated');
const proto = 'proto/provider.proto';

const generator = createRequire(import.meta.url).resolve(
  '@grpc/proto-loader/build/bin/proto-loader-gen-types.js',
);
const options = [
  '--grpcLib=@grpc/grpc-js',
  '--importFileExtension=.ts',
  '--inputTemplate=%sInput',
  '--outputTemplate=%s',
  '--defaults',
  '--arrays',
];
execFileSync(process.execPath, [generator, ...options, `--outDir=${folder}`, proto], { cwd: project });

const { root } = protobuf.parse(readFileSync(join(project, proto), 'utf8'));
const json = JSON.stringify(root.toJSON(), null, 2);
writeFileSync(
  join(folder, 'descriptor.ts'),
  `// Original file: ${proto}\n\nexport const descriptor = ${json} as const;\n`,
);
