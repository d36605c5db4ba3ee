import type { RawMountRequest } from '../../src/csi/mount-request.ts';

const prefix = 'csi.storage.k8s.io';

/** The request of a pod, as a driver 1.6 sends it. */
export function request(
  pod: string,
  parameters: Readonly<Record<string, string>>,
  overrides: Partial<RawMountRequest> = {},
  namespace = 'team-a',
): RawMountRequest {
  const attributes = {
    ...parameters,
    secretProviderClass: 'app',
    [`${prefix}/pod.name`]: pod,
    [`${prefix}/pod.namespace`]: namespace,
    [`${prefix}/pod.uid`]: `uid-${pod}`,
    [`${prefix}/serviceAccount.name`]: 'app',
  };
  return {
    ...{ attributes: JSON.stringify(attributes), secrets: 'null', permission: '420' },
    ...{ targetPath: `/pods/${pod}`, ...overrides },
  };
}

const deeplyNested = `${'['.repeat(200)}x${']'.repeat(200)}`;
const aliasBomb = `a: &a [x,x,x,x,x,x,x,x]\n${'b c d e f g h'
  .split(' ')
  .map((name, index) => `${name}: &${name} [${Array(8).fill(`*${'abcdefg'[index]}`).join(',')}]`)
  .join('\n')}\n`;
const objectsOf = (count: number): string =>
  Array.from(
    { length: count },
    (_, index) => `- {objectName: none-${index}, objectType: csms, objectVersion: latest}`,
  ).join('\n');

/**
 * Requests of a hostile tenant, or of a program that imitates a driver. None of them may get a
 * volume.
 */
export const hostileRequests: readonly ((
  random: () => number,
  number: number,
) => RawMountRequest)[] = [
  (_, n) => request(`h${n}`, { objects: deeplyNested }),
  (_, n) => request(`h${n}`, { objects: aliasBomb }),
  (_, n) => request(`h${n}`, { objects: objectsOf(501) }),
  (random, n) => request(`h${n}`, { objects: randomText(random, 2_000) }),
  (_, n) =>
    request(`h${n}`, {
      objects: '- {objectName: ../../etc/shadow, objectType: csms, objectVersion: latest}',
    }),
  (_, n) =>
    request(`h${n}`, {
      objects:
        '- {objectName: secret-1, objectType: csms, objectVersion: latest, objectAlias: ../x}',
    }),
  (_, n) =>
    request(`h${n}`, {
      objects:
        "- {objectName: secret-1, objectType: csms, objectVersion: latest, jmesPath: [{path: '[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[', objectAlias: x}]}",
    }),
  (_, n) =>
    request(`h${n}`, {
      objects:
        '- {objectName: gone, objectType: csms, objectVersion: latest, __proto__: {optional: true}}',
      __proto__x: 'y',
      constructor: 'z',
    }),
  (_, n) => request('..', { objects: objectsOf(1) }, { targetPath: `/pods/${n}` }),
  (_, n) => request(`h${n}`, { objects: objectsOf(1) }, {}, '../../other'),
  (random, n) => request(`h${n}`, {}, { attributes: randomText(random, 5_000) }),
  (_, n) => request(`h${n}`, {}, { attributes: '[]' }),
  (_, n) => request(`h${n}`, {}, { attributes: `{"a":"${'x'.repeat(1_100_000)}"}` }),
  (_, n) => request(`h${n}`, { objects: objectsOf(1) }, { permission: '"rwx"' }),
  (_, n) => request(`h${n}`, { objects: objectsOf(1) }, { secrets: '{"token": {"nested": true}}' }),
  (_, n) => request(`h${n}`, { objects: objectsOf(1) }, { targetPath: `/${'p'.repeat(5_000)}` }),
  (random, n) =>
    request(`h${n}`, {
      ...{
        usePodOIDC: 'true',
        agencyUrn: 'iam::1:agency:x',
        providerUrn: 'iam::1:oidcProvider:x',
        objects: objectsOf(1),
      },
      [`${prefix}/serviceAccount.tokens`]: JSON.stringify({
        'sts.huaweicloud.com': { token: forgedToken(random) },
      }),
    }),
  // The secret of another tenant: the annotation of team-b/app does not list it.
  (_, n) =>
    request(
      `h${n}`,
      { objects: '- {objectName: secret-1, objectType: csms, objectVersion: latest}' },
      {},
      'team-b',
    ),
];

function randomText(random: () => number, length: number): string {
  return Buffer.from(Array.from({ length }, () => Math.floor(random() * 256))).toString('latin1');
}

function forgedToken(random: () => number): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = {
    sub: 'system:serviceaccount:team-a:app',
    aud: ['sts.huaweicloud.com'],
    exp: 4e9,
  };
  return `${part({ alg: 'none' })}.${part(claims)}.${randomText(random, 20)}`;
}

/** A line of a class or of a secret. */
export const filler = 'x'.repeat(900);
/** Secrets of the maximum size, called `huge-0` and so on. They do not all fit into the cache. */
export const hugeSecretCount = 600;
/**
 * Classes at the limits of what a class may request. They read only secrets of the attacker, so
 * authorization accepts them.
 */
export const greedyParameters: readonly ((number: number) => Readonly<Record<string, string>>)[] = [
  // The maximum number of objects. None of them exists.
  (n) => ({ objects: objectsOf(499).replaceAll('none-', `none-${n}-`) }),
  // A class of the maximum size.
  (n) => ({ objects: `${objectsOf(1)}\n${`# ${n} ${filler}\n`.repeat(1_000)}` }),
  // Expressions that take a long time.
  (n) => ({
    objects: `- {objectName: greedy-1, objectType: csms, objectVersion: latest, jmesPath: [${Array.from({ length: 20 }, (_, index) => `{path: "sort_by(list, &join('', sort(keys(@))))[${index}]", objectAlias: f${index}-${n}}`).join(', ')}]}`,
  }),
  // Responses of the maximum size, from more secrets than the cache can hold.
  (n) => ({
    objects: Array.from(
      { length: 60 },
      (_, index) =>
        `- {objectName: huge-${(60 * n + index) % hugeSecretCount}, objectType: csms, objectVersion: latest}`,
    ).join('\n'),
  }),
  // Plans that must be compiled each time.
  (n) => ({ objects: objectsOf(100).replaceAll('none-', `plan-${n}-`) }),
];
