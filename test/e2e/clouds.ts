import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { appRole, oidcProvider, startAlibabaRig } from '../fakes/alibabacloud-rig.ts';
import { startCceRig } from '../fakes/cce-rig.ts';
import type { IssuedToken } from '../servers/control-plane/issued-tokens.ts';

export { appRole, oidcProvider };

/** The agency that trusts the pods of team-a/app, and by which identity provider. */
export const agency = {
  urn: 'iam::0123456789:agency:app',
  providerUrn: 'iam::0123456789:oidcProvider:my-cluster',
  subject: 'system:serviceaccount:team-a:app',
  audience: 'sts.huaweicloud.com',
};

/** Every cloud there is a fake of; their token services believe what the cluster has signed, and nothing else. */
export async function startClouds(isIssued: IssuedToken) {
  const [cce, alibaba] = await Promise.all([
    startCceRig({ agencies: [agency], isIssued }),
    startAlibabaRig({ isIssued }),
  ]);
  const directory = await mkdtemp(join(tmpdir(), 'kf-clouds-'));
  const caFile = join(directory, 'ca.crt');
  const authorities = await Promise.all([cce.caFile, alibaba.caFile].map((file) => readFile(file, 'utf8')));
  await writeFile(caFile, authorities.join('\n'));
  const env = Object.entries({ ...cce.env, ...alibaba.env }).filter(([, value]) => value !== undefined);
  return {
    cce,
    alibaba,
    /** Leads Keyferry to them, and makes it believe in them. */
    env: Object.fromEntries(env) as Readonly<Record<string, string>>,
    caFile,
    async close() {
      await Promise.all([cce.close(), alibaba.close()]);
      await rm(directory, { recursive: true });
    },
  };
}

export type Clouds = Awaited<ReturnType<typeof startClouds>>;
