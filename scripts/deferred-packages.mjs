import { build } from 'esbuild';
import { appendFile } from 'node:fs/promises';
import { brotliCompressSync, constants } from 'node:zlib';

/**
 * Packages that the code asks for by `import('name')` alone, such as undici and the AWS SDK, go into the bundle compressed and are
 * unpacked and compiled when they are first asked for. What is not used is neither scanned at the start nor kept as source in memory.
 * @param options of esbuild, for the packages
 */
export function deferredPackages(options) {
  return {
    name: 'deferred-packages',
    setup({ initialOptions, onResolve, onLoad, onEnd }) {
      const licenses = [];
      onResolve({ filter: /^[@\w]/ }, ({ kind, path, namespace }) =>
        kind === 'dynamic-import' && namespace === 'file' && !path.startsWith('node:')
          ? { path, namespace: 'deferred' }
          : undefined,
      );
      onLoad({ filter: /./, namespace: 'deferred' }, async ({ path }) => {
        const { outputFiles } = await build({
          ...options,
          stdin: { contents: `export * from ${JSON.stringify(path)};`, resolveDir: process.cwd() },
          write: false,
          outfile: `${path}.js`,
          legalComments: 'external',
        });
        const code = outputFiles.find(({ path }) => path.endsWith('.js'));
        licenses.push(...outputFiles.filter((file) => file !== code).map(({ text }) => text));
        const packed = brotliCompressSync(code.contents, {
          params: { [constants.BROTLI_PARAM_SIZE_HINT]: code.contents.length },
        });
        return { contents: unpack(path, packed.toString('base64')), loader: 'js' };
      });
      onEnd(() => appendFile(`${initialOptions.outfile}.LEGAL.txt`, licenses.sort().join('\n')));
    },
  };
}

function unpack(path, packed) {
  return `
    const { brotliDecompressSync } = require('node:zlib');
    const { compileFunction } = require('node:vm');
    const code = brotliDecompressSync(Buffer.from(${JSON.stringify(packed)}, 'base64')).toString();
    const options = { filename: ${JSON.stringify(`${path}.js`)} };
    compileFunction(code, ['module', 'exports', 'require'], options)(module, exports, require);
  `;
}
