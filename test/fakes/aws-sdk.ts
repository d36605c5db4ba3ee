import {
  BatchGetSecretValueCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { GetParametersCommand, SSMClient } from '@aws-sdk/client-ssm';
import { AssumeRoleWithWebIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import type { HttpResponse } from '../../src/http/client.ts';
import type { AwsService } from '../../src/providers/aws/endpoints.ts';

/** A request of AWS's SDK. */
export type SdkRequest = {
  readonly protocol: string;
  readonly hostname: string;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

const clients = { secretsmanager: SecretsManagerClient, ssm: SSMClient, sts: STSClient } as const;
const commands = {
  GetSecretValue: GetSecretValueCommand,
  DescribeSecret: DescribeSecretCommand,
  BatchGetSecretValue: BatchGetSecretValueCommand,
  GetParameters: GetParametersCommand,
  AssumeRoleWithWebIdentity: AssumeRoleWithWebIdentityCommand,
} as const;

/** An operation that Keyferry uses. */
export type SdkOperation = keyof typeof commands;

type SdkClient = {
  send(command: object): Promise<object>;
  readonly config: {
    readonly endpointProvider: (parameters: object) => { readonly url: URL };
  };
};

function createClient(service: AwsService, options: object): SdkClient {
  return new clients[service]({
    ...{ region: 'eu-west-1', maxAttempts: 1, ignoreConfiguredEndpointUrls: true },
    ...options,
  }) as unknown as SdkClient;
}

/** The endpoint by the rules of AWS's SDK. */
export function sdkEndpoint(
  service: AwsService,
  region: string,
  { fips, dualstack }: { readonly fips: boolean; readonly dualstack: boolean },
): string {
  const parameters = { Region: region, UseFIPS: fips, UseDualStack: dualstack };
  return createClient(service, {}).config.endpointProvider(parameters).url.href;
}

/**
 * Calls an operation by AWS's SDK, which gets this response.
 * @returns its request, and its output or the error that it throws
 */
export async function callBySdk(
  service: AwsService,
  operation: SdkOperation,
  input: object,
  {
    keys = { accessKeyId: 'AKIA1', secretAccessKey: 'secret' },
    response = { status: 200, headers: {}, body: Buffer.from('{}') },
  }: { readonly keys?: object; readonly response?: HttpResponse } = {},
): Promise<{ readonly request: SdkRequest; readonly result: Readonly<Record<string, unknown>> }> {
  const requests: SdkRequest[] = [];
  const sdkResponse = { statusCode: response.status, body: Buffer.from(response.body) };
  const requestHandler = {
    async handle(request: Omit<SdkRequest, 'body'> & { readonly body: string | Uint8Array }) {
      const { body: sent } = request;
      const body = typeof sent === 'string' ? sent : new TextDecoder().decode(sent);
      requests.push({ ...request, body });
      return { response: { ...sdkResponse, headers: { ...response.headers } } };
    },
  };
  const client = createClient(service, { credentials: keys, requestHandler });
  // The type of the input depends on the command.
  const command = new (commands[operation] as new (input: object) => object)(input);
  const result = await client.send(command).catch((thrown: unknown) => thrown);
  const [request] = requests;
  if (request === undefined) throw new Error(`the SDK sent no request: ${String(result)}`);
  return { request, result: result as Readonly<Record<string, unknown>> };
}
