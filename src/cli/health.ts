import { Argument, Command, Option } from 'commander';
import { get, type RequestOptions } from 'node:http';
import { settingFlags } from '../config/settings.ts';
import { SecretError, errorCodeOf } from '../core/errors.ts';

/** What {@link healthCommand} needs of the process. */
export type HealthDeps = {
  readonly stdout: { write(text: string): unknown };
  readonly setExitCode: (code: 1) => void;
};

const paths = { ready: '/readyz', live: '/healthz', metrics: '/metrics' } as const;
const timeoutMs = 5_000;

/**
 * `keyferry health`: checks the health of a serving process. It is for probes without network
 * access, and for people in an image without curl. Its action throws SecretError if no process
 * responds.
 */
export function healthCommand({ stdout, setExitCode }: HealthDeps): Command {
  const names = Object.keys(paths);
  return new Command('health')
    .description('check the health of a serving process; exit code 1 if it is not healthy')
    .addArgument(new Argument('[endpoint]', 'what to request').choices(names).default('ready'))
    .addOption(addressOption())
    .action(async (endpoint: keyof typeof paths, { healthAddress }: { healthAddress: string }) => {
      const [first = ''] = healthAddress.split(',');
      const { status, text } = await httpGet(first, paths[endpoint]);
      stdout.write(text);
      if (status !== 200) setExitCode(1);
    });
}

/** The option of `serve`, so that both use the same variable. */
function addressOption(): Option {
  const serveOption = settingFlags.find(({ long }) => long === '--health-address');
  return new Option(
    '--health-address <address>',
    'as given to serve; of several, the first is used',
  )
    .env(serveOption?.envVar ?? '')
    .default(serveOption?.defaultValue);
}

async function httpGet(
  address: string,
  path: string,
): Promise<{ status: number | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const request = get({ ...toRequestOptions(address), path, signal }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode, text }));
      response.on('error', onError);
    });
    request.on('error', onError);
    function onError(cause: Error): void {
      const code = signal.aborted ? 'no response in time' : (errorCodeOf(cause) ?? cause.name);
      const hint = 'give the --health-address of a running keyferry serve';
      reject(
        new SecretError(
          'NOT_CONFIGURED',
          `no process responds to health requests at ${address}: ${code}`,
          {
            hint,
            cause,
          },
        ),
      );
    }
  });
}

/** Connects by loopback to a server that listens on all addresses. */
function toRequestOptions(address: string): RequestOptions {
  if (address.startsWith('unix:')) return { socketPath: address.slice('unix:'.length) };
  const [, host = '', port = ''] = /^(.*):([^:]*)$/.exec(address) ?? [];
  const isWildcard = ['', '0.0.0.0', '[::]'].includes(host);
  return { host: isWildcard ? 'localhost' : host.replace(/^\[|\]$/g, ''), port };
}
