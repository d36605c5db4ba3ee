import type { SecureContextOptions } from 'node:tls';
import { awsErrorResponse, awsJsonResponse, type AwsAccount, type AwsCall } from './aws-account.ts';
import { createAwsPolicy, applyDelay, accessDeniedResponse, type AwsPolicy } from './aws-policy.ts';
import { startFakeServer, type FakeResponse, type FakeServer } from './http-server.ts';

type Version = {
  readonly value: string;
  readonly modifiedAt: number;
  readonly labels: Set<string>;
};

/** The Parameter Store, in all regions. */
export type FakeSsm = FakeServer &
  AwsPolicy & {
    /** Adds a version. @returns its number; after a deletion, numbers start at 1 again */
    put(name: string, value: string, region?: string): number;
    label(name: string, version: number, label: string, region?: string): void;
    delete(name: string, region?: string): void;
    arn(name: string, region?: string): string;
    /** All calls with a valid signature, oldest first. */
    readonly calls: readonly AwsCall[];
    /** The names of each call of GetParameters. */
    batches(): readonly (readonly string[])[];
  };

/**
 * Starts a Parameter Store that verifies signatures. It returns plain values only for requests with
 * decryption, and sorts the parameters of a response by name, descending.
 */
export async function startFakeSsm(options: {
  readonly account: AwsAccount;
  readonly region: string;
  readonly now: () => number;
  readonly tls: SecureContextOptions;
}): Promise<FakeSsm> {
  const { account, region: defaultRegion, now, tls } = options;
  const parameters = new Map<string, Version[]>();
  const policy = createAwsPolicy();
  const calls: AwsCall[] = [];
  const keyOf = (name: string, region = defaultRegion): string => `${region} ${name}`;
  const arnOf = (name: string, region = defaultRegion): string =>
    `arn:aws:ssm:${region}:${account.id}:parameter/${name.replace(/^\//, '')}`;

  function find(requestedName: string, region: string) {
    const isArn = requestedName.startsWith('arn:');
    const [, base = requestedName, selector = ''] =
      (isArn ? /^((?:[^:]*:){5}[^:]*)(:.*)?$/ : /^([^:]*)(:.*)?$/).exec(requestedName) ?? [];
    const name = isArn
      ? ([...parameters.keys()]
          .map((key) => key.split(' ')[1] ?? '')
          .find((each) => arnOf(each, region) === base) ?? '')
      : base;
    const versions = parameters.get(keyOf(name, region)) ?? [];
    const requestedVersion = selector.slice(1);
    const index =
      requestedVersion === ''
        ? versions.length - 1
        : /^\d+$/.test(requestedVersion)
          ? Number(requestedVersion) - 1
          : versions.findIndex(({ labels }) => labels.has(requestedVersion));
    return {
      name,
      responseName: isArn ? base : name,
      selector,
      version: versions[index],
      number: index + 1,
    };
  }

  async function handleCall(call: AwsCall): Promise<FakeResponse> {
    calls.push(call);
    const { action, input, region } = call;
    if (action !== 'GetParameters') return awsErrorResponse('UnknownOperationException', action);
    const names = input.Names as string[];
    await applyDelay(policy, [action, ...names]);
    if (names.length > 10 || names.length === 0)
      return awsErrorResponse(
        'ValidationException',
        "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length less than or equal to 10",
      );
    const invalidName = names.find((name) => !/^[a-zA-Z0-9_.\-/:]+$/.test(name));
    if (invalidName !== undefined)
      return awsErrorResponse('ValidationException', `Invalid parameter name: ${invalidName}`);
    const found = names.map((requestedName) => ({ requestedName, ...find(requestedName, region) }));
    for (const { name, requestedName } of found) {
      const arn = arnOf(name === '' ? requestedName : name, region);
      const deniedResponse = accessDeniedResponse(policy, call, {
        service: 'ssm',
        name: name === '' ? requestedName : name,
        arn,
      });
      if (deniedResponse !== undefined) return deniedResponse;
      if (policy.kmsDenied.has(name))
        return awsErrorResponse(
          'AccessDeniedException',
          'The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.',
        );
    }
    return awsJsonResponse(200, {
      Parameters: found
        .flatMap(({ responseName, name, selector, version, number }) =>
          version === undefined
            ? []
            : [
                {
                  ARN: arnOf(name, region),
                  Name: responseName,
                  ...(selector !== '' && { Selector: selector }),
                  Type: 'SecureString',
                  Value: input.WithDecryption === true ? version.value : 'ENCRYPTED',
                  Version: number,
                  LastModifiedDate: version.modifiedAt / 1_000,
                },
              ],
        )
        .sort((a, b) => (a.Name < b.Name ? 1 : -1)),
      InvalidParameters: found.flatMap(({ requestedName, version }) =>
        version === undefined ? [requestedName] : [],
      ),
    });
  }

  const server = await startFakeServer({
    tls,
    handler: (request) =>
      account.serve(request, { signingName: 'ssm', target: 'AmazonSSM' }, handleCall),
  });
  return Object.assign(server, policy, {
    calls,
    batches: () => calls.map(({ input }) => input.Names as string[]),
    arn: arnOf,
    put(name: string, value: string, region?: string) {
      const versions = parameters.get(keyOf(name, region)) ?? [];
      parameters.set(keyOf(name, region), versions);
      return versions.push({ value, modifiedAt: now(), labels: new Set() });
    },
    label: (name: string, version: number, label: string, region?: string) =>
      void parameters.get(keyOf(name, region))?.[version - 1]?.labels.add(label),
    delete: (name: string, region?: string) => void parameters.delete(keyOf(name, region)),
  });
}
