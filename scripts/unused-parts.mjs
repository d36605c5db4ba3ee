/**
 * Unused parts of packages. Those of prom-client load HTTPS, child processes and OpenTelemetry at the
 * start, and pino's transports load worker threads. With `long`, protobufjs would use WebAssembly for
 * 64-bit numbers.
 */
const unused =
  /prom-client\/lib\/(defaultMetrics|pushgateway|cluster)\.js$|pino\/lib\/transport\.js$|node_modules\/long\//;

/**
 * The rest of undici implements the browser's `fetch`, which also loads Node's own: about 40 ms of the
 * first request.
 */
const undici = `
  Object.assign(require('./lib/dispatcher/dispatcher').prototype, require('./lib/api'));
  exports.Agent = require('./lib/dispatcher/agent');
  exports.ProxyAgent = require('./lib/dispatcher/proxy-agent');
`;

/** An esbuild plugin that leaves out the unused parts of packages. */
export const unusedParts = {
  name: 'unused-parts',
  setup({ onLoad }) {
    onLoad({ filter: unused }, () => ({ contents: 'module.exports = {};' }));
    onLoad({ filter: /node_modules\/undici\/index\.js$/ }, () => ({ contents: undici }));
  },
};
