import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFakePrograms } from '../../../test/fakes/programs.ts';
import { testIfAvailable } from '../../../test/if-available.ts';
import { SecretError } from '../../core/errors.ts';
import { Installation } from '../setup/installation.ts';
import { createRunProgram } from '../run-program.ts';
import { agentUnit } from '../setup/unit.ts';
import type { CommandContext } from './context.ts';
import { systemSetupCommand } from './system-setup.ts';
import { systemUninstallCommand } from './system-uninstall.ts';

let directory: string;
let root: string;
let release: string;
let programs: ReturnType<typeof createFakePrograms>;

const releaseFiles = [
  'docker-dso',
  'keyferry.js',
  'shim/dso-shim-linux-amd64',
  'shim/dso-shim-linux-arm64',
];

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'keyferry-setup-')));
  root = join(directory, 'root');
  release = join(directory, 'release');
  mkdirSync(join(root, 'run/systemd/system'), { recursive: true });
  mkdirSync(join(release, 'shim'), { recursive: true });
  for (const name of releaseFiles) writeFileSync(join(release, name), `#!/bin/true ${name}\n`);
  programs = createFakePrograms(directory, ['systemctl', 'docker', 'umount']);
  programs.answer('systemctl', [
    { when: '*is-enabled *', code: 1 },
    { when: 'is-active *', code: 3 },
  ]);
  programs.answer('docker', [{ when: 'container inspect *', code: 1 }]);
});
afterEach(() => rmSync(directory, { recursive: true }));

type Services = Awaited<ReturnType<CommandContext['agent']['services']>>;

/** What a command prints, with the test's directory as the root of the host. */
async function run(
  command: 'setup' | 'uninstall',
  args: readonly string[] = [],
  { userId = 0, hostRoot = root, services = [] as Services } = {},
): Promise<string> {
  let printed = '';
  const output = { write: (text: string) => (printed += text) };
  const context = {
    ...{ version: '0.1.0', stdout: output, stderr: output, program: join(release, 'docker-dso') },
    env: { PATH: programs.path },
    agent: { services: () => Promise.resolve(services) },
  } as unknown as CommandContext;
  const create = command === 'setup' ? systemSetupCommand : systemUninstallCommand;
  // A program that only root can change: the Node of this test may lie in a user's directory.
  const built = create(context, { hostRoot, userId, node: '/usr/bin/env' })
    .exitOverride()
    .configureOutput({ writeErr: (text) => (printed += text) });
  await built.parseAsync([...args], { from: 'user' });
  return printed;
}

async function failureOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (thrown) {
    if (thrown instanceof SecretError) return thrown.summary;
    if (thrown instanceof Error) return thrown.message;
  }
  return 'accepted';
}

const at = (path: string): string => join(root, path);
/** All files and links below the root. */
const files = (): readonly string[] =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => !lstatSync(join(root, name)).isDirectory())
    .sort();
const started = (): void =>
  programs.answer('systemctl', [{ when: 'is-enabled *' }, { when: 'is-active *' }]);

describe('docker dso system setup', () => {
  test('installs the program, the plugin, the stores and the unit, and starts it', async () => {
    const printed = await run('setup', ['--providers', 'huawei']);
    expect(files()).toEqual([
      'etc/dso/dso.yaml',
      'etc/systemd/system/dso-agent.service',
      'usr/local/lib/docker/cli-plugins/docker-dso',
      ...releaseFiles.map((name) => `usr/local/lib/keyferry/${name}`),
    ]);
    expect(readFileSync(at('etc/dso/dso.yaml'), 'utf8')).toContain('huawei:\n    type: huawei\n');
    expect(readlinkSync(at('usr/local/lib/docker/cli-plugins/docker-dso'))).toBe(
      '../../keyferry/docker-dso',
    );
    expect(statSync(at('usr/local/lib/docker/cli-plugins/docker-dso')).mode & 0o777).toBe(0o755);
    expect(statSync(at('var/lib/dso')).mode & 0o777).toBe(0o700);
    expect(programs.calls().filter((call) => !call.includes(' is-'))).toEqual([
      'docker container inspect --format {{.State.Running}} {{index .Config.Labels "keyferry.setup"}} dso-container',
      'systemctl daemon-reload',
      'systemctl enable --quiet dso-agent.service',
      'systemctl restart dso-agent.service',
    ]);
    expect(printed.split('\n')).toEqual([
      ...releaseFiles
        .toSorted((a, b) => order(a) - order(b))
        .map((name) => `done     program    ${at('usr/local/lib/keyferry')}/${name}`),
      `done     plugin     ${at('usr/local/lib/docker/cli-plugins/docker-dso')}`,
      `done     directory  ${at('etc/dso')}`,
      `done     directory  ${at('var/lib/dso')}`,
      `done     store      huawei in ${at('etc/dso/dso.yaml')}`,
      `done     unit       ${at('etc/systemd/system/dso-agent.service')}`,
      'done     enabled    dso-agent.service, before docker.service',
      'done     started    dso-agent.service',
      'next     docker dso system doctor',
      '',
    ]);
  });
  const order = (name: string): number =>
    ['keyferry.js', 'docker-dso', ...releaseFiles.slice(2)].indexOf(name);

  test('changes nothing when it is called again', async () => {
    await run('setup', ['--providers', 'huawei']);
    started();
    programs.forget();
    const printed = await run('setup', ['--providers', 'huawei']);
    expect(printed).not.toContain('done');
    expect(programs.calls().join('\n')).not.toMatch(/restart|daemon-reload|enable --/);
  });

  test('upgrades a file, and starts the agent again', async () => {
    await run('setup');
    started();
    programs.forget();
    writeFileSync(join(release, 'keyferry.js'), 'new');
    expect(await run('setup')).toContain(
      `done     program    ${at('usr/local/lib/keyferry')}/keyferry.js`,
    );
    expect(programs.calls()).toContain('systemctl restart dso-agent.service');
    expect(readFileSync(at('usr/local/lib/keyferry/keyferry.js'), 'utf8')).toBe('new');
  });

  test('can be called by the plugin that it has installed', async () => {
    await run('setup');
    rmSync(release, { recursive: true });
    release = at('usr/local/lib/docker/cli-plugins');
    expect(await run('setup')).toContain('done     started');
  });

  test('--dry-run changes nothing, and needs no root', async () => {
    const before = files();
    const printed = await run('setup', ['--dry-run', '--providers', 'aws'], { userId: 1000 });
    expect(printed).toContain(`would do store      aws in ${at('etc/dso/dso.yaml')}`);
    expect(files()).toEqual(before);
    expect(programs.calls().filter((call) => !/ (is-|container inspect)/.test(call))).toEqual([]);
  });

  test('keeps what dso.yaml has, and does not add a store twice', async () => {
    mkdirSync(at('etc/dso'), { recursive: true });
    const text = '# ours\nproviders:\n  main: {type: aws, region: us-east-1}\n';
    writeFileSync(at('etc/dso/dso.yaml'), text);
    expect(await run('setup', ['--providers', 'aws'])).toContain('found    store      aws in');
    expect(readFileSync(at('etc/dso/dso.yaml'), 'utf8')).toBe(text);
  });

  test('says what a store needs besides its type', async () => {
    const printed = await run('setup', ['--providers', 'vault,local']);
    expect(printed).toContain(
      'next     sudo docker dso init --provider vault --vault-address URL\n',
    );
    expect(printed).toContain('next     sudo docker dso init --mode local\n');
    expect(existsSync(at('etc/dso/dso.yaml'))).toBe(false);
  });

  test('--root installs into an image without starting anything', async () => {
    const image = join(directory, 'image');
    mkdirSync(image);
    await run('setup', ['--root', image], { userId: 1000 });
    expect(existsSync(join(image, 'etc/systemd/system/dso-agent.service'))).toBe(true);
    const calls = programs.calls();
    expect(calls.every((call) => call.startsWith(`systemctl --root=${image} `))).toBe(true);
    expect(calls.at(-1)).toBe(`systemctl --root=${image} enable --quiet dso-agent.service`);
    // The unit has the paths of the host, not those of the image.
    expect(readFileSync(join(image, 'etc/systemd/system/dso-agent.service'), 'utf8')).not.toContain(
      image,
    );
  });

  test('without systemd, says how the agent starts', async () => {
    rmSync(at('run/systemd'), { recursive: true });
    const printed = await run('setup');
    expect(printed).toMatch(/systemd does not run here\. .*\n {2}.* docker-agent --config /);
    expect(existsSync(at('etc/systemd'))).toBe(false);
  });

  describe('--container', () => {
    const start = (): string | undefined =>
      programs.calls().find((call) => call.startsWith('docker run'));

    test('runs the agent as a container with what it needs', async () => {
      await run('setup', ['--container', '--image', 'example.com/keyferry:1']);
      const call = start() ?? '';
      for (const part of [
        '--name dso-container',
        '--restart always',
        '--cap-drop ALL --cap-add SYS_ADMIN',
        '--security-opt no-new-privileges',
        '--mount type=bind,source=/etc/dso,target=/etc/dso,readonly',
        '--mount type=bind,source=/var/lib/dso,target=/var/lib/dso',
        '--mount type=bind,source=/run/dso,target=/run/dso,bind-propagation=rshared',
        '--mount type=bind,source=/run/docker/plugins,target=/run/docker/plugins',
      ])
        expect(call).toContain(part);
      expect(call).toMatch(
        / example\.com\/keyferry:1 docker-agent --config \/etc\/dso\/dso\.yaml$/,
      );
      expect(call).not.toContain('--privileged');
      expect(files()).toEqual([
        'usr/local/lib/docker/cli-plugins/docker-dso',
        'usr/local/lib/keyferry/docker-dso',
      ]);
    });

    test("gives it the engine's socket, where the host has one", async () => {
      const mounted = '--mount type=bind,source=/run/docker.sock,target=/run/docker.sock';
      await run('setup', ['--container']);
      expect(start()).not.toContain(mounted);
      writeFileSync(join(root, 'run/docker.sock'), '');
      await run('setup', ['--container']);
      expect(programs.calls().at(-1)).toContain(mounted);
    });

    test('leaves the same container alone, and replaces another one', async () => {
      await run('setup', ['--container']);
      const [, digest = ''] = /--label keyferry\.setup=(\w+)/.exec(start() ?? '') ?? [];
      programs.answer('docker', [{ when: 'container inspect *', stdout: `true ${digest}\n` }]);
      programs.forget();
      expect(await run('setup', ['--container'])).toContain('found    container  dso-container');
      expect(start()).toBeUndefined();
      await run('setup', ['--container', '--image', 'other:2']);
      expect(programs.calls()).toContain('docker rm --force dso-container');
      expect(start()).toContain(' other:2 docker-agent');
    });

    test('refuses an image that is not there', async () => {
      programs.answer('docker', [
        { when: 'container inspect *', code: 1 },
        { when: 'image inspect *', code: 1 },
      ]);
      expect(await failureOf(run('setup', ['--container']))).toBe(
        'there is no image keyferry-docker:0.1.0; pull it or build it with make image-docker, or name another one with --image',
      );
    });

    test('refuses a second agent', async () => {
      await run('setup');
      expect(await failureOf(run('setup', ['--container']))).toContain(
        'the agent runs as a unit of systemd already; call docker dso system uninstall first',
      );
    });
  });

  describe('refuses', () => {
    test('a user without root', async () => {
      expect(await failureOf(run('setup', [], { userId: 1000 }))).toBe(
        'system setup changes this host, so it needs root; call it again with sudo; --dry-run shows what it does',
      );
    });

    test('a release that is not complete, and changes nothing', async () => {
      rmSync(join(release, 'shim/dso-shim-linux-arm64'));
      expect(await failureOf(run('setup'))).toContain(
        'shim/dso-shim-linux-arm64 is not beside the plugin',
      );
      expect(files()).toEqual([]);
    });

    test('a unit of somebody else', async () => {
      mkdirSync(at('etc/systemd/system'), { recursive: true });
      writeFileSync(at('etc/systemd/system/dso-agent.service'), '[Unit]\n');
      expect(await failureOf(run('setup'))).toContain('is not of this program; move it away');
      expect(readFileSync(at('etc/systemd/system/dso-agent.service'), 'utf8')).toBe('[Unit]\n');
    });

    test('a directory of the state that is a link', async () => {
      mkdirSync(at('var/lib'), { recursive: true });
      symlinkSync(directory, at('var/lib/dso'));
      expect(await failureOf(run('setup'))).toContain('is not a directory of its own');
    });

    test.each(['nope', 'aws,,huawei', 'aws\nx', '../aws'])('the provider %j', async (name) => {
      expect(await failureOf(run('setup', ['--providers', name]))).toContain(
        'there is no provider',
      );
    });

    test('with the cause, when systemctl fails', async () => {
      programs.answer('systemctl', [
        { when: 'is-*', code: 1 },
        { when: 'restart *', stderr: 'Job for dso-agent.service failed.\n', code: 1 },
      ]);
      expect(await failureOf(run('setup'))).toBe(
        'systemctl restart failed: Job for dso-agent.service failed.; see: systemctl status dso-agent.service; journalctl -u dso-agent.service',
      );
    });
  });

  test('copies a Node that a user can change, because root runs it', async () => {
    const node = join(directory, 'node');
    writeFileSync(node, '#!/bin/true\n');
    chmodSync(node, 0o755);
    const installation = new Installation({
      ...{ root, hostRoot: root, node, program: join(release, 'docker-dso') },
      run: createRunProgram({ PATH: programs.path }),
    });
    for (const step of await installation.steps('systemd', [], '')) await step.apply();
    expect(readFileSync(at('etc/systemd/system/dso-agent.service'), 'utf8')).toContain(
      'ExecStart=/usr/local/lib/keyferry/node ',
    );
    expect(existsSync(at('usr/local/lib/keyferry/node'))).toBe(true);
  });
});

describe('docker dso system uninstall', () => {
  test('takes back exactly what setup has made', async () => {
    for (const path of ['usr/local/lib/docker/cli-plugins', 'etc/systemd/system'])
      mkdirSync(at(path), { recursive: true });
    writeFileSync(at('usr/local/lib/docker/cli-plugins/docker-other'), '');
    await run('setup', ['--providers', 'aws']);
    programs.forget();
    const printed = await run('uninstall');
    expect(files()).toEqual(['etc/dso/dso.yaml', 'usr/local/lib/docker/cli-plugins/docker-other']);
    expect(existsSync(at('usr/local/lib/keyferry'))).toBe(false);
    expect(programs.calls().filter((call) => call.startsWith('systemctl'))).toEqual([
      'systemctl disable --now dso-agent.service',
      'systemctl daemon-reload',
    ]);
    expect(printed).toContain(`kept     ${at('etc/dso')} and ${at('var/lib/dso')}`);
    expect(await run('uninstall')).toContain('there is nothing to remove');
  });

  test('removes the container', async () => {
    await run('setup', ['--container']);
    programs.answer('docker', [{ when: 'container inspect *', stdout: 'true 0123abcd\n' }]);
    await run('uninstall');
    expect(programs.calls()).toContain('docker rm --force dso-container');
  });

  test('leaves what is not ours', async () => {
    mkdirSync(at('usr/local/lib/docker/cli-plugins'), { recursive: true });
    mkdirSync(at('usr/local/lib/keyferry'), { recursive: true });
    mkdirSync(at('etc/systemd/system'), { recursive: true });
    const foreign = [
      'etc/systemd/system/dso-agent.service',
      'usr/local/lib/docker/cli-plugins/docker-dso',
      'usr/local/lib/keyferry/notes',
    ];
    for (const path of foreign) writeFileSync(at(path), 'mine');
    programs.answer('docker', [{ when: 'container inspect *', stdout: 'true \n' }]);
    expect(await run('uninstall')).not.toMatch(/^removed/m);
    expect(files()).toEqual(foreign);
    expect(programs.calls().filter((call) => !call.includes('inspect'))).toEqual([]);
  });

  test('--dry-run changes nothing', async () => {
    await run('setup');
    const before = files();
    expect(await run('uninstall', ['--dry-run'], { userId: 1000 })).toContain('would remove');
    expect(files()).toEqual(before);
  });

  test('names the services that still have secrets', async () => {
    const service = { service: 'app', state: 'ACTIVE', secrets: [] } as const;
    const services = [
      { ...service, project: 'shop', mounts: 2 },
      { ...service, project: 'idle', mounts: 0 },
    ];
    const printed = await run('uninstall', [], { services });
    expect(printed).toContain('do not start again without the agent: shop/app\n');
  });
});

describe('the unit', () => {
  test('is ordered before Docker, and keeps the files of running containers', () => {
    const unit = agentUnit('/usr/bin/node');
    expect(unit).toContain('\nBefore=docker.service\n');
    expect(unit).toContain('\nWantedBy=docker.service multi-user.target\n');
    expect(unit).toContain('\nRuntimeDirectoryPreserve=yes\n');
  });

  test('has no option that would hide its mounts from Docker', () =>
    expect(agentUnit('/usr/bin/node')).not.toMatch(
      /^(Protect(System|Home|Kernel\w+|Control\w+|Proc)|Private\w+|ReadOnlyPaths|ReadWritePaths|InaccessiblePaths|BindPaths|TemporaryFileSystem|RootDirectory|DynamicUser|MountFlags)=/m,
    ));

  test('quotes the path of Node', () =>
    expect(agentUnit('/opt/no de/100%/$x')).toContain('ExecStart="/opt/no de/100%%/$$x" --'));

  const missing = existsSync('/usr/bin/systemd-analyze') ? [] : ['systemd'];
  testIfAvailable('the unit of the agent', missing)('passes systemd-analyze verify', () => {
    const unit = join(directory, 'dso-agent.service');
    const text = agentUnit(process.execPath);
    writeFileSync(unit, text);
    mkdirSync(join(directory, 'units'));
    // It finds no fault in a unit that it should refuse, unless it reads it.
    const verify = (): string => {
      try {
        const args = ['verify', '--man=no', '--recursive-errors=no', unit];
        return execFileSync('systemd-analyze', args, { stdio: 'pipe' }).toString();
      } catch (thrown) {
        return String((thrown as { stderr?: Buffer }).stderr);
      }
    };
    expect(verify()).toBe('');
    writeFileSync(unit, text.replace('Restart=on-failure', 'Restart=sometimes'));
    expect(verify()).toContain('sometimes');
  });
});
