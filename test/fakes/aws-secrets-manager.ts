import type { SecureContextOptions } from 'node:tls';
import { awsErrorResponse, awsJsonResponse, type AwsAccount, type AwsCall } from './aws-account.ts';
import { createAwsPolicy, applyDelay, accessDeniedResponse, type AwsPolicy } from './aws-policy.ts';
import { startFakeServer, type FakeResponse, type FakeServer } from './http-server.ts';

type Version = { readonly id: string; readonly value: string | Uint8Array };
type Secret = {
  readonly name: string;
  readonly arn: string;
  readonly versions: Version[];
  /** Ids by stage. */
  readonly stages: Map<string, string>;
  isDeleted: boolean;
};

/** Secrets Manager, in all regions. */
export type FakeSecretsManager = FakeServer &
  AwsPolicy & {
    /** Adds a version, which becomes AWSCURRENT. @returns its id */
    put(name: string, value: string | Uint8Array, region?: string): string;
    /** Puts a stage on a version. */
    stage(name: string, stage: string, versionId: string, region?: string): void;
    /** Schedules the deletion. */
    delete(name: string, region?: string): void;
    /** `arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf` */
    arn(name: string, region?: string): string;
    /** All calls with a valid signature, oldest first. */
    readonly calls: readonly AwsCall[];
    /** The number of calls of an action. */
    callCount(action: string): number;
  };

/** Starts a Secrets Manager that verifies signatures. */
export async function startFakeSecretsManager(options: {
  readonly account: AwsAccount;
  readonly region: string;
  readonly tls: SecureContextOptions;
}): Promise<FakeSecretsManager> {
  const { account, region: defaultRegion, tls } = options;
  const secrets = new Map<string, Secret>();
  const policy = createAwsPolicy();
  const calls: AwsCall[] = [];

  const arnOf = (name: string, region = defaultRegion): string =>
    `arn:aws:secretsmanager:${region}:${account.id}:secret:${name}-AbCdEf`;
  /** Finds a secret by name, or by ARN with or without its last six characters. */
  const find = (id: string, region: string): Secret | undefined =>
    [...secrets.values()].find(
      ({ name, arn }) =>
        arn.split(':')[3] === region && [name, arn, arn.replace(/-AbCdEf$/, '')].includes(id),
    );
  const secretOf = (name: string, region = defaultRegion): Secret => {
    const secret = find(name, region);
    if (secret === undefined) throw new Error(`there is no ${name} in ${region}`);
    return secret;
  };
  const notFound = awsErrorResponse(
    'ResourceNotFoundException',
    "Secrets Manager can't find the specified secret.",
  );

  function read(call: AwsCall, id: string): FakeResponse | Record<string, unknown> {
    const { input, region } = call;
    const secret = find(id, region);
    const arn = secret?.arn ?? arnOf(id, region).replace('-AbCdEf', '-??????');
    const name = secret?.name ?? id;
    const deniedResponse = accessDeniedResponse(
      policy,
      { ...call, action: 'GetSecretValue' },
      { service: 'secretsmanager', name, arn },
    );
    if (deniedResponse !== undefined) return deniedResponse;
    if (secret === undefined) return notFound;
    if (secret.isDeleted)
      return awsErrorResponse(
        'InvalidRequestException',
        "You can't perform this operation on the secret because it was marked for deletion.",
      );
    if (policy.kmsDenied.has(name))
      return awsErrorResponse('AccessDeniedException', 'Access to KMS is not allowed');
    const { VersionId: pinnedVersionId, VersionStage: stage } = input as {
      VersionId?: string;
      VersionStage?: string;
    };
    const versionId = pinnedVersionId ?? secret.stages.get(stage ?? 'AWSCURRENT');
    const version = secret.versions.find((each) => each.id === versionId);
    if (version === undefined)
      return awsErrorResponse(
        'ResourceNotFoundException',
        `Secrets Manager can't find the specified secret value for ${pinnedVersionId === undefined ? 'staging label' : 'VersionId'}: ${pinnedVersionId ?? stage ?? 'AWSCURRENT'}`,
      );
    if (
      pinnedVersionId !== undefined &&
      stage !== undefined &&
      secret.stages.get(stage) !== pinnedVersionId
    )
      return awsErrorResponse(
        'InvalidRequestException',
        'You provided a VersionStage that is not associated to the provided VersionId.',
      );
    const { value } = version;
    return {
      ARN: secret.arn,
      Name: secret.name,
      VersionId: version.id,
      ...(typeof value === 'string'
        ? { SecretString: value }
        : { SecretBinary: Buffer.from(value).toString('base64') }),
      VersionStages: [...secret.stages]
        .filter(([, at]) => at === version.id)
        .map(([label]) => label),
      CreatedDate: 1_700_000_000.123,
    };
  }

  function describe(call: AwsCall, id: string): FakeResponse {
    const secret = find(id, call.region);
    const arn = secret?.arn ?? arnOf(id, call.region).replace('-AbCdEf', '-??????');
    const deniedResponse = accessDeniedResponse(policy, call, {
      service: 'secretsmanager',
      name: secret?.name ?? id,
      arn,
    });
    if (deniedResponse !== undefined) return deniedResponse;
    if (secret === undefined) return notFound;
    const stagesOf = (versionId: string): string[] =>
      [...secret.stages].filter(([, at]) => at === versionId).map(([label]) => label);
    const staged = secret.versions.filter(({ id: versionId }) => stagesOf(versionId).length > 0);
    return awsJsonResponse(200, {
      ARN: secret.arn,
      Name: secret.name,
      ...(secret.isDeleted && { DeletedDate: 1_700_000_000 }),
      VersionIdsToStages: Object.fromEntries(
        staged.map(({ id: versionId }) => [versionId, stagesOf(versionId)]),
      ),
    });
  }

  function batch(call: AwsCall): FakeResponse {
    const ids = call.input.SecretIdList as string[];
    const deniedResponse = accessDeniedResponse(policy, call, {
      service: 'secretsmanager',
      name: '*',
      arn: '*',
    });
    if (deniedResponse !== undefined) return deniedResponse;
    if (ids.length > 20)
      return awsErrorResponse(
        'ValidationException',
        'Member must have length less than or equal to 20',
      );
    const responses = ids.map((id) => ({ id, response: read({ ...call, input: {} }, id) }));
    const isErrorResponse = (response: object): response is FakeResponse => 'status' in response;
    return awsJsonResponse(200, {
      SecretValues: responses
        .flatMap(({ response }) => (isErrorResponse(response) ? [] : [response]))
        .reverse(),
      Errors: responses.flatMap(({ id, response }) => {
        if (!isErrorResponse(response)) return [];
        const { __type, message } = response.body as { __type: string; message: string };
        return [{ SecretId: id, ErrorCode: __type, Message: message }];
      }),
    });
  }

  function list(call: AwsCall): FakeResponse {
    const deniedResponse = accessDeniedResponse(policy, call, {
      ...{ service: 'secretsmanager', name: '*', arn: '*' },
    });
    if (deniedResponse !== undefined) return deniedResponse;
    const { MaxResults: limit = 100, NextToken: token = '' } = call.input;
    if (!(Number(limit) >= 1 && Number(limit) <= 100))
      return awsErrorResponse('ValidationException', "Value at 'maxResults' failed");
    const all = [...secrets.values()]
      .filter(({ arn, isDeleted }) => arn.split(':')[3] === call.region && !isDeleted)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .filter(({ name }) => name > String(token));
    const page = all.slice(0, Number(limit));
    return awsJsonResponse(200, {
      SecretList: page.map(({ name, arn, stages }) => ({
        ...{ Name: name, ARN: arn, LastChangedDate: 1_700_000_000.25 },
        SecretVersionsToStages: Object.fromEntries([...stages].map(([stage, id]) => [id, [stage]])),
      })),
      ...(all.length > page.length && { NextToken: page.at(-1)?.name }),
    });
  }

  async function handleCall(call: AwsCall): Promise<FakeResponse> {
    calls.push(call);
    const { action, input } = call;
    const id = String(input.SecretId);
    const ids = Array.isArray(input.SecretIdList) ? input.SecretIdList.map(String) : [id];
    await applyDelay(policy, [action, ...ids]);
    switch (action) {
      case 'GetSecretValue': {
        const found = read(call, id);
        return 'status' in found ? found : awsJsonResponse(200, found);
      }
      case 'DescribeSecret':
        return describe(call, id);
      case 'BatchGetSecretValue':
        return batch(call);
      case 'ListSecrets':
        return list(call);
      default:
        return awsErrorResponse('UnknownOperationException', action);
    }
  }

  const server = await startFakeServer({
    tls,
    handler: (request) =>
      account.serve(
        request,
        { signingName: 'secretsmanager', target: 'secretsmanager' },
        handleCall,
      ),
  });
  return Object.assign(server, policy, {
    calls,
    callCount: (action: string) => calls.filter((call) => call.action === action).length,
    arn: arnOf,
    put(name: string, value: string | Uint8Array, region = defaultRegion) {
      const secret = find(name, region) ?? {
        ...{
          name,
          arn: arnOf(name, region),
          versions: [],
          stages: new Map<string, string>(),
          isDeleted: false,
        },
      };
      secrets.set(secret.arn, secret);
      const id = `00000000-0000-4000-8000-${String(secret.versions.length + 1).padStart(12, '0')}`;
      secret.versions.push({ id, value });
      const last = secret.stages.get('AWSCURRENT');
      if (last !== undefined) secret.stages.set('AWSPREVIOUS', last);
      secret.stages.set('AWSCURRENT', id);
      return id;
    },
    stage: (name: string, stage: string, versionId: string, region?: string) =>
      void secretOf(name, region).stages.set(stage, versionId),
    delete(name: string, region?: string) {
      secretOf(name, region).isDeleted = true;
    },
  });
}
