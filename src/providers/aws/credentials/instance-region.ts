import { SecretError, toSecretError } from '../../../core/errors.ts';
import { parseEndpoint } from '../../../http/endpoint.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { isRegion } from '../../shared/class/parameters.ts';
import { createEnvReader } from '../../shared/env.ts';

const timeoutMs = 1_000;
/** One region is read with one token. */
const tokenLifetimeSeconds = '60';

/**
 * Reads the region of the EC2 instance from its metadata, by the variables of AWS's SDKs:
 * https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html
 * @throws SecretError NOT_CONFIGURED if there is no such region; the signal's reason
 */
export async function readInstanceRegion(
  {
    http,
    env,
  }: { readonly http: HttpClient; readonly env: Readonly<Record<string, string | undefined>> },
  signal: AbortSignal,
): Promise<string> {
  const endpoint = readEndpoint(env);
  const request = (
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<HttpResponse> =>
    http.request({
      ...{ method, url: new URL(path, endpoint), headers, signal, timeoutMs },
      direct: true,
    });
  try {
    const token = await request('PUT', '/latest/api/token', {
      'x-aws-ec2-metadata-token-ttl-seconds': tokenLifetimeSeconds,
    });
    const text = token.body.toString().trim();
    const hasToken = token.status === 200 && /^[\x21-\x7e]+$/.test(text);
    const region = await request('GET', '/latest/meta-data/placement/region', {
      ...(hasToken && { 'x-aws-ec2-metadata-token': text }),
    });
    const name = region.body.toString().trim();
    if (region.status === 200 && isRegion(name)) return name;
    throw noRegionError(`the instance metadata has none (HTTP ${region.status})`);
  } catch (thrown) {
    signal.throwIfAborted();
    const error = toSecretError(thrown);
    if (error.code === 'NOT_CONFIGURED') throw error;
    throw noRegionError(`the instance metadata cannot be read: ${error.message}`);
  }
}

function readEndpoint(env: Readonly<Record<string, string | undefined>>): URL {
  const get = createEnvReader(env);
  if (get('AWS_EC2_METADATA_DISABLED')?.toLowerCase() === 'true')
    throw noRegionError('AWS_EC2_METADATA_DISABLED is true');
  const name = 'AWS_EC2_METADATA_SERVICE_ENDPOINT';
  const isIpv6 = get('AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE')?.toLowerCase() === 'ipv6';
  const usual = isIpv6 ? 'http://[fd00:ec2::254]' : 'http://169.254.169.254';
  return parseEndpoint(get(name) ?? usual, { setting: `aws: ${name}`, allowHttp: true });
}

function noRegionError(reason: string): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `aws: there is no region in dso.yaml, AWS_REGION or AWS_DEFAULT_REGION, and ${reason}`,
    { hint: 'set region in dso.yaml' },
  );
}
