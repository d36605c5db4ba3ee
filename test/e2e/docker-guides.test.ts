import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { guideSteps, printsAsGuide } from '../docker/guide.ts';
import { startGuideHost, type GuideHost } from '../docker/guide-host.ts';
import type { GuideShell } from '../docker/guide-shell.ts';
import { readPage } from '../docs-page.ts';
import { startFakeInstanceMetadata } from '../fakes/aws-metadata.ts';
import { createHuaweiAccount } from '../fakes/huawei-account.ts';
import { startFakeCsms } from '../fakes/huawei-csms.ts';
import { startFakeIam } from '../fakes/huawei-iam.ts';
import { startFakeMetadata } from '../fakes/huawei-metadata.ts';
import { describeIfAvailable } from '../if-available.ts';
import { buildCompose, missingDockerDependencies } from '../servers/docker/engine.ts';
import {
  importAgentImage,
  importPostgresImage,
  importTestImages,
  testImages,
} from '../servers/docker/images.ts';
import { missingMotoDependencies, motoPython, startMoto } from '../servers/moto/moto.ts';
import { startMotoProxy } from '../servers/moto/proxy.ts';
import { missingPostgresDependencies } from '../servers/postgres.ts';
import {
  buildTestVault,
  missingTestVaultDependencies,
  startTestVault,
} from '../servers/testvault/testvault.ts';
import { buildRelease } from './docker-environment.ts';

const missingDependencies = [
  ...(await missingDockerDependencies()),
  ...(await missingMotoDependencies()),
  ...(await missingPostgresDependencies()),
  ...(await missingTestVaultDependencies()),
];

/**
 * The commands that do not run here, and why. All others run. In PATH are stand-ins: `sudo` (the
 * user is root), `systemctl` (systemd does not run in a test: test/docker/systemctl.sh starts the
 * unit's program), `vault` and `aws` (no registry of packages has them; they call the servers).
 */
const notRun: Readonly<Record<string, string>> = {
  'make build shim': 'the suite has built the release',
  'make image-docker': 'it needs a registry; the suite makes the image from the same files',
};

/** What the user has before the guide begins, or does elsewhere, as in a cloud's console. */
type Surroundings = {
  /** Assignments of the user's shell. */
  readonly variables?: string;
  /** What the user does before a command. */
  readonly before?: Readonly<Record<string, () => void>>;
  readonly stop: () => Promise<unknown>;
};

/** It needs no cloud. */
async function quickstart(): Promise<Surroundings> {
  return { stop: async () => undefined };
}

const region = 'ap-southeast-3';

async function huawei(host: GuideHost): Promise<Surroundings> {
  const account = createHuaweiAccount();
  const project = '0f2b6d1c9e8a4b7f8c3d5e6a7b9c0d1e';
  account.projects.push({ id: project, name: region });
  const [csmsName, iamName] = [`kms.${region}.myhuaweicloud.com`, 'iam.myhuaweicloud.com'];
  const tls = host.ca.issue({ hosts: [csmsName, iamName] });
  const csms = await startFakeCsms({ account, project, tls });
  const iam = await startFakeIam({ account, tls });
  const metadata = await startFakeMetadata({ account, place: { region, project } });
  await host.serve({ at: csmsName, port: 443, url: csms.url });
  await host.serve({ at: iamName, port: 443, url: iam.url });
  await host.serve({ at: '169.254.169.254', port: 80, url: metadata.url });
  csms.put('database-password', 'a long password');
  const keys = account.issueKeys();
  return {
    variables: `ACCESS_KEY=${keys.access} SECRET_KEY=${keys.secret}`,
    before: {
      'docker dso secret list --provider huawei': () =>
        void csms.put('database-password', 'another password'),
    },
    stop: () => Promise.all([csms.close(), iam.close(), metadata.close()]),
  };
}

async function aws(host: GuideHost): Promise<Surroundings> {
  const moto = await startMoto();
  const services = ['secretsmanager', 'sts', 'ssm'].map(
    (name) => `${name}.us-east-1.amazonaws.com`,
  );
  const front = await startMotoProxy(moto.url, host.ca.issue({ hosts: services }));
  const keys = { accessKeyId: 'ASIAEXAMPLE', secretAccessKey: 'example', sessionToken: 'example' };
  const metadata = await startFakeInstanceMetadata({
    region: 'us-east-1',
    keys: { ...keys, expiresAt: Date.now() + 3_600_000, holder: 'host' },
  });
  for (const at of services) await host.serve({ at, port: 443, url: front.url });
  await host.serve({ at: '169.254.169.254', port: 80, url: metadata.url });
  const command = join(import.meta.dirname, '../servers/moto/aws-command.py');
  await host.standIn('aws', `#!/bin/sh\nexec ${motoPython} ${command} "$@"\n`);
  return {
    variables: [
      'export AWS_ACCESS_KEY_ID=user AWS_SECRET_ACCESS_KEY=user AWS_DEFAULT_REGION=us-east-1',
      `AWS_CA_BUNDLE=${host.caFile}`,
    ].join(' '),
    stop: () => Promise.all([front.close(), metadata.close(), moto.stop()]),
  };
}

async function vault(host: GuideHost): Promise<Surroundings> {
  const server = await startTestVault({ hosts: ['vault.example.com'] });
  await host.serve({ at: 'vault.example.com', port: 8200, url: server.url });
  // The host of a guide trusts the authority of its Vault.
  await host.prepare(`cp '${server.caFile}' /etc/dso/ca.crt`);
  const command = join(import.meta.dirname, '../servers/testvault/vault-command.mjs');
  await host.standIn(
    'vault',
    // Vault does not run on the host of the guide, so it needs the address instead of the name.
    `#!/bin/bash\nexec '${process.execPath}' '${command}' "\${@//db.example.com/${host.engine.address}}"\n`,
  );
  return {
    variables: [
      `export VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=${server.rootToken}`,
      `NODE_EXTRA_CA_CERTS=${server.caFile}`,
    ].join(' '),
    stop: server.stop,
  };
}

const guides = { quickstart, huawei, aws, vault };

/** What the guides of the field print, and our pages say in another way. */
const asPrinted: Readonly<Record<string, string>> = {
  aws: `
\`\`\`sh
docker dso init --mode cloud --provider aws --aws-region us-east-1 --aws-role-arn arn:aws:iam::123456789:role/ContainerSecretsRole
\`\`\`
`,
  vault: `
\`\`\`sh
vault write auth/approle/role/app token_policies=app token_ttl=1h token_max_ttl=4h secret_id_ttl=30m
SECRET_ID=$(vault write -f -field=secret_id auth/approle/role/app/secret-id)
docker dso init --mode cloud --provider vault --vault-address https://vault.example.com:8200 --vault-auth-method approle --vault-role-id "$ROLE_ID" --vault-secret-id "$SECRET_ID"
docker dso init --vault-role-id "$ROLE_ID" --vault-secret-id "$SECRET_ID"
docker restart dso-container
until docker dso system info >/dev/null 2>&1; do sleep 1; done
docker exec dso-container dso system test-vault
\`\`\`
`,
};

describeIfAvailable(import.meta.filename, missingDependencies)('the guides of docker dso', () => {
  let host: GuideHost;

  beforeAll(async () => {
    await Promise.all([buildCompose(), buildTestVault(), buildRelease()]);
    host = await startGuideHost();
    const { engine } = host;
    await importTestImages(engine);
    await importPostgresImage(engine, 'postgres:16');
    await importAgentImage(engine, 'keyferry-docker:0.1.0');
    await engine.output(['create', '--name', 'my-app', testImages.busybox]);
    await engine.output(['commit', '--change', 'CMD ["stay"]', 'my-app', 'my-app:latest']);
    await engine.output(['rm', 'my-app']);
    await engine.output(['tag', 'my-app:latest', 'nginx:latest']);
  }, 900_000);
  afterAll(() => host.stop(), 120_000);

  describe.each(Object.entries(guides))('docs/docker/%s.md', (name, surround) => {
    let shell: GuideShell;
    let directory: string;
    let surroundings: Surroundings;
    let hasFailed = false;

    beforeAll(async () => {
      await host.writeEnvironment();
      surroundings = await surround(host);
      ({ shell, directory } = await host.shell(`${name}/shop`));
      await shell.run(surroundings.variables ?? ':');
    }, 120_000);
    afterAll(async () => {
      await host.clear();
      await surroundings.stop();
    }, 120_000);

    const page = readPage(`docker/${name}.md`).text + (asPrinted[name] ?? '');
    const steps = guideSteps(page).filter(
      (step) => step.kind === 'file' || notRun[step.command] === undefined,
    );
    test.each(
      steps.map((step) => [step.kind === 'file' ? step.name : step.command, step] as const),
    )('%s', async (_, step) => {
      if (hasFailed) throw new Error('a step before it has failed');
      if (step.kind === 'file') return writeFile(join(directory, step.name), step.text);
      const { command, output } = step;
      surroundings.before?.[command]?.();
      const { code, printed } = await shell.run(command);
      // grep ends with 1 if it finds nothing.
      const expectedCode = output === '' && command.includes(' | grep ') ? 1 : 0;
      const isAsGuide = output === undefined || printsAsGuide(printed, output);
      hasFailed = code !== expectedCode || !isAsGuide;
      if (hasFailed)
        throw new Error(
          `it ends with ${code} and prints:\n${printed}\nThe guide says:\n${output ?? '(anything)'}\n` +
            `The log of the agent ends with:\n${(await host.agentLog()).slice(-800)}`,
        );
      expect(code).toBe(expectedCode);
    });
  });
});
