import { Argument, Command, Option } from 'commander';
import { get, type RequestOptions } from 'node:http';
import { settingFlags } from '../config/settings.ts';
import { SecretError } from '../core/errors.ts';

/** What {@link healthCommand} needs of the process. */
export type HealthDeps = {
  readonly stdout: { write(text: string): unknown };
  readonly setExitCode: (code: 1) => void;
};

const paths = { ready: '/readyz', live: '/healthz', metrics: '/metrics' } as const;
const timeoutMs = 5_000;

/**
 * `keyferry health`: asks a serving process how it is; for probes that cannot go by the network, and for people where there is no curl.
 * Its action throws SecretError where nobody answers.
 */
export function healthCommand({ stdout, setExitCode }: HealthDeps): Command {
  const names = Object.keys(paths);
  return new Command('health')
    .description('ask a serving process how it is; exit code 1 where it is not well')
    .addArgument(new Argument('[question]', 'what to ask').choices(names).default('ready'))
    .addOption(addressOption())
    .action(async (endpoint: keyof typeof paths, { healthAddress }: { healthAddress: string }) => {
      const [first = ''] = healthAddress.split(',');
      const { status, text } = await httpGet(first, paths[endpoint]);
      stdout.write(text);
      if (status !== 200) setExitCode(1);
    });
}

/** The flag of `serve`, so that its variable serves both. */
function addressOption(): Option {
  const serveOption = settingFlags.find(({ long }) => long === '--health-address');
  return new Option(
    '--health-address <address>',
    'as given to serve; of several, the first is asked',
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
      const code = signal.aborted
        ? 'no answer in time'
        : 'code' in cause
          ? String(cause.code)
          : cause.name;
      const hint = 'give the --health-address of a running keyferry serve';
      reject(
        new SecretError('NOT_CONFIGURED', `nobody tells of health at ${address}: ${code}`, {
          hint,
          cause,
        }),
      );
    }
  });
}

/** Who listens everywhere is asked by loopback. */
function toRequestOptions(address: string): RequestOptions {
  if (address.startsWith('unix:')) return { socketPath: address.slice('unix:'.length) };
  const [, host = '', port = ''] = /^(.*):([^:]*)$/.exec(address) ?? [];
  const isWildcard = ['', '0.0.0.0', '[::]'].includes(host);
  return { host: isWildcard ? 'localhost' : host.replace(/^\[|\]$/g, ''), port };
}
