import { build } from 'esbuild';
import { appendFile } from 'node:fs/promises';
import { brotliCompressSync, constants } from 'node:zlib';

/**
 * An esbuild plugin for packages that the code loads only with `import('name')`, such as undici and
 * the AWS SDK. They are compressed in the bundle, and are unpacked and compiled on first import. So
 * unused packages are neither scanned at the start nor kept as source in memory. The packages of one
 * scope share most of their code and are packed together. Each of them still runs only when it is
 * imported.
 * @param options esbuild options for the packages
 * @param dependencies the names of all packages that the code may import
 */
export function deferredPackages(options, dependencies) {
  return {
    name: 'deferred-packages',
    setup({ initialOptions, onResolve, onLoad, onEnd }) {
      const licenses = [];
      onResolve({ filter: /^[@\w]/ }, ({ kind, path, namespace }) =>
        kind === 'dynamic-import' && namespace === 'file' && !path.startsWith('node:')
          ? { path, namespace: 'deferred' }
          : undefined,
      );
      onLoad({ filter: /./, namespace: 'deferred' }, ({ path }) => {
        const pack = path.startsWith('@') ? path.split('/')[0] : path;
        return { contents: `module.exports = require('pack:${pack}')[${JSON.stringify(path)}]();` };
      });
      onResolve({ filter: /^pack:/ }, ({ path }) => ({
        path: path.slice('pack:'.length),
        namespace: 'pack',
      }));
      onLoad({ filter: /./, namespace: 'pack' }, async ({ path: pack }) => {
        const members = dependencies.filter((name) => name === pack || name.startsWith(`${pack}/`));
        const { outputFiles } = await build({
          ...options,
          stdin: { contents: members.map(exported).join('\n'), resolveDir: process.cwd() },
          write: false,
          outfile: `${pack}.js`,
          legalComments: 'external',
        });
        const code = outputFiles.find(({ path }) => path.endsWith('.js'));
        licenses.push(...outputFiles.filter((file) => file !== code).map(({ text }) => text));
        const packed = brotliCompressSync(code.contents, {
          params: { [constants.BROTLI_PARAM_SIZE_HINT]: code.contents.length },
        });
        return { contents: unpack(pack, packed.toString('base64')) };
      });
      onEnd(() => appendFile(`${initialOptions.outfile}.LEGAL.txt`, licenses.sort().join('\n')));
    },
  };
}

function exported(name) {
  return `exports[${JSON.stringify(name)}] = () => require(${JSON.stringify(name)});`;
}

function unpack(pack, packed) {
  return `
    const { brotliDecompressSync } = require('node:zlib');
    const { compileFunction } = require('node:vm');
    const code = brotliDecompressSync(Buffer.from(${JSON.stringify(packed)}, 'base64')).toString();
    const options = { filename: ${JSON.stringify(`${pack}.js`)} };
    compileFunction(code, ['module', 'exports', 'require'], options)(module, exports, require);
  `;
}
