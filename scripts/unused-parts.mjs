/**
 * Parts that nobody uses. Prom-client's load HTTPS, child processes and OpenTelemetry at the start, pino's transports load threads; protobufjs
 * would take 64-bit numbers to WebAssembly.
 */
const unused =
  /prom-client\/lib\/(defaultMetrics|pushgateway|cluster)\.js$|pino\/lib\/transport\.js$|node_modules\/long\//;

/** The rest of undici is a browser's `fetch` and all that goes with it, which in turn loads Node's own: some 40 ms of the first request. */
const undici = `
  Object.assign(require('./lib/dispatcher/dispatcher').prototype, require('./lib/api'));
  exports.Agent = require('./lib/dispatcher/agent');
  exports.ProxyAgent = require('./lib/dispatcher/proxy-agent');
`;

/** Leaves out what packages load and this program does not use. */
export const unusedParts = {
  name: 'unused-parts',
  setup({ onLoad }) {
    onLoad({ filter: unused }, () => ({ contents: 'module.exports = {};' }));
    onLoad({ filter: /node_modules\/undici\/index\.js$/ }, () => ({ contents: undici }));
  },
};
