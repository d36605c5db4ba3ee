import { describe, expect, test } from '@jest/globals';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { callBySdk } from '../../../test/fakes/aws-sdk.ts';
import { createRetry } from '../../concurrency/retry.ts';
import { Redacted } from '../../core/redacted.ts';
import type { HttpClient, HttpRequest, HttpResponse } from '../../http/client.ts';
import { type Call, callStore, createApi, formContent, resourceOf } from './call.ts';
import { parseErrorResponse } from './errors.ts';

const { signal } = new AbortController();
const credential = {
  ...{ accessKeyId: 'AKIA1', secretAccessKey: new Redacted('secret'), account: '111122223333' },
};
const context = {
  ...{ region: 'eu-west-1', fingerprint: 'pod', owner: 'the pod', credential, signal },
  beforeAttempt: async () => undefined,
};

/** An api before a server that sends these responses, the last one again and again. */
function start(...responses: readonly Partial<HttpResponse>[]) {
  const requests: HttpRequest[] = [];
  const http: HttpClient = {
    request: async (request) => {
      const response = responses[Math.min(requests.length, responses.length - 1)];
      requests.push(request);
      return { status: 200, headers: {}, body: Buffer.from('{}'), ...response };
    },
    close: async () => undefined,
  };
  const config = { fips: false, dualstack: false };
  const retry = createRetry({ baseMs: 1 });
  return { api: createApi({ config, http, retry, now: () => 1_767_323_045_678 }), requests };
}

describe("a request has the content of AWS's SDK", () => {
  test.each([
    ['secretsmanager', 'GetSecretValue', { SecretId: 'a/键', VersionId: '1', VersionStage: 'x' }],
    ['secretsmanager', 'DescribeSecret', { SecretId: '"\\\u0000' }],
    ['secretsmanager', 'BatchGetSecretValue', { SecretIdList: ['a', 'b'] }],
    ['ssm', 'GetParameters', { Names: ['/a:1', 'b'], WithDecryption: true }],
  ] as const)('%s %s', async (service, operation, input) => {
    const { request: expected } = await callBySdk(service, operation, input);
    const { api, requests } = start();
    await callStore(api, context, { service, operation, input, resource: '*' });
    const [request] = requests;
    expect(request?.method).toBe(expected.method);
    expect(request?.url.href).toBe(`https://${expected.hostname}${expected.path}`);
    expect(JSON.parse(String(request?.body))).toEqual(JSON.parse(expected.body));
    for (const name of ['content-type', 'x-amz-target', 'host'])
      expect(request?.headers?.[name]).toBe(expected.headers[name]);
    expect(request?.headers?.authorization).toMatch(/^AWS4-HMAC-SHA256 Credential=AKIA1\/20260102/);
    expect(request?.headers?.['user-agent']).toBe('keyferry');
  });

  test('sts AssumeRoleWithWebIdentity, without a signature', async () => {
    const input = {
      RoleArn: 'arn:aws:iam::111122223333:role/team/app+=,.@-',
      RoleSessionName: 'team-a.app',
      WebIdentityToken: "a.b_c-d.e~!*'()",
      DurationSeconds: 3_600,
    };
    const { request: expected } = await callBySdk('sts', 'AssumeRoleWithWebIdentity', input);
    const { api, requests } = start();
    const content = formContent({
      ...{ Action: 'AssumeRoleWithWebIdentity', Version: '2011-06-15', ...input },
      DurationSeconds: '3600',
    });
    await api.call({ service: 'sts', region: 'eu-west-1', content, signal });
    const [request] = requests;
    const fields = (body: unknown) =>
      Object.fromEntries(new URLSearchParams(String(body)).entries());
    expect(fields(request?.body)).toEqual(fields(expected.body));
    expect(request?.url.host).toBe(expected.hostname);
    expect(request?.headers).toEqual({
      'content-type': expected.headers['content-type'],
      'user-agent': 'keyferry',
    });
  });
});

describe("an error response is parsed as by AWS's SDK", () => {
  const json = (body: object, headers = {}) => ({ body: JSON.stringify(body), headers });
  test.each([
    ['a code and a text', json({ __type: 'AccessDeniedException', Message: 'no <&>' })],
    ['a namespace', json({ __type: 'com.amazonaws.x#ParameterNotFound', message: 'no' })],
    ['a code with an address', json({ code: 'X#Throttling:http://a.example/', message: 'no' })],
    ['a code in a header', json({ message: 'no' }, { 'x-amzn-errortype': 'InvalidKeyId:x,y' })],
    ['a code of the body before the header', json({ __type: 'A' }, { 'x-amzn-errortype': 'B' })],
    ['only a header', { body: '', headers: { 'x-amzn-errortype': 'ServiceUnavailable' } }],
    ['a name of JavaScript', json({ __type: 'constructor', message: '__proto__' })],
    ['no code', json({ message: 'no' })],
  ])('of JSON: %s', async (_, { body, headers }) => {
    const response = {
      status: 400,
      headers: { 'x-amzn-requestid': 'req-1', ...headers },
      body: Buffer.from(body),
    };
    const options = { response };
    const { result } = await callBySdk('ssm', 'GetParameters', { Names: ['a'] }, options);
    const { status, code, fullText, requestId } = parseErrorResponse(response, 0);
    const hasText = code !== undefined && result.message !== 'UnknownError';
    expect({ status, code: code ?? 'Unknown', fullText, requestId }).toEqual({
      status: 400,
      code: result.name,
      fullText: hasText ? result.message : '',
      requestId: 'req-1',
    });
  });

  test.each([
    ['a denial', 'AccessDenied', 'Not authorized &lt;to&gt; perform &amp;quot; &quot;it&quot;'],
    ['a code of the query protocol', 'Throttling', 'Rate exceeded'],
  ])('of XML: %s', async (_, code, text) => {
    const response = {
      status: 403,
      headers: { 'x-amzn-requestid': 'req-1' },
      body: Buffer.from(
        `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n  <Error>\n    <Type>Sender</Type>\n    <Code>${code}</Code>\n    <Message>${text}</Message>\n  </Error>\n  <RequestId>req-1</RequestId>\n</ErrorResponse>\n`,
      ),
    };
    const input = { RoleArn: 'r'.repeat(20), RoleSessionName: 's', WebIdentityToken: 'toke' };
    const options = { response };
    const { result } = await callBySdk('sts', 'AssumeRoleWithWebIdentity', input, options);
    expect(parseErrorResponse(response, 0)).toMatchObject({
      ...{ status: 403, code: result.name, fullText: result.message, requestId: 'req-1' },
    });
    expect(parseErrorResponse({ ...response, headers: {} }, 0).requestId).toBe('req-1');
  });

  test.each([
    '<html><code>404</code><message>no</message>',
    '<Code>',
    '<Code></Code>',
    '<Error><Code><b>x</b></Code></Error>',
    '[]',
    '"AccessDenied"',
    '{"__type": {"a": 1}}',
    '{"__type": "#"}',
    '\u0000',
  ])('what is no error of AWS has no code and no text: %j', (text) => {
    expect(parseErrorResponse({ status: 400, headers: {}, body: Buffer.from(text) }, 0)).toEqual(
      expect.objectContaining({ code: undefined, text: '', fullText: '' }),
    );
  });
});

describe('a call', () => {
  const call: Call = {
    ...{ service: 'ssm', region: 'eu-west-1', signal },
    content: { headers: {}, body: '{}' },
  };

  test('is sent three times in all after transient errors, and its signal is passed on', async () => {
    const { api, requests } = start({ status: 503 });
    await expect(api.call(call)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(requests).toHaveLength(3);
    expect(requests[0]?.signal).toBe(signal);
  });

  test('for a region that does not exist sends nothing', async () => {
    const { api, requests } = start();
    await expect(api.call({ ...call, region: 'a.example/' })).rejects.toMatchObject({
      code: 'INVALID_CLASS',
    });
    expect(requests).toEqual([]);
  });

  test('has the date of AWS after AWS rejected the date of the node', async () => {
    const tooOld = {
      status: 400,
      headers: { date: 'Fri, 02 Jan 2026 04:04:05 GMT' },
      body: Buffer.from('{"__type": "InvalidSignatureException", "message": "Signature expired"}'),
    };
    const { api, requests } = start(tooOld, {});
    await api.call({ ...call, credential });
    await api.call({ ...call, credential });
    expect(requests.map(({ headers }) => headers?.['x-amz-date'])).toEqual([
      '20260102T030405Z',
      '20260102T040405Z',
      '20260102T040405Z',
    ]);
  });
});

test.each([
  [
    'secretsmanager',
    'eu-west-1',
    'db',
    'arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-??????',
  ],
  ['ssm', 'cn-north-1', '/a/b', 'arn:aws-cn:ssm:cn-north-1:111122223333:parameter/a/b'],
  ['ssm', 'us-iso-east-1', 'a', 'arn:aws-iso:ssm:us-iso-east-1:111122223333:parameter/a'],
  ['ssm', 'eu-west-1', 'arn:aws:ssm:x', 'arn:aws:ssm:x'],
] as const)('a hint names a resource of %s in %s by its ARN', (service, region, name, arn) => {
  expect(resourceOf(service, { region, credential }, name)).toBe(arn);
});

test('loads no code of AWS before its first use', () => {
  const files = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' });
  const sources = files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const early = sources.filter((file) =>
    /^import (?!type )[^;]*'@(aws-sdk|smithy)\//m.test(
      readFileSync(join(import.meta.dirname, file), 'utf8'),
    ),
  );
  expect(sources).toContain('sign.ts');
  expect(early).toEqual([]);
});
