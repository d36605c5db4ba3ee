import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FakeDockerAgent, startFakeDockerAgent } from '../../../test/fakes/docker-agent.ts';
import { createFakePrograms } from '../../../test/fakes/programs.ts';
import { startFakeServer } from '../../../test/fakes/http-server.ts';
import type { SecretError } from '../../core/errors.ts';
import { Docker } from '../compose/docker.ts';
import { checkVolumes } from '../doctor/host.ts';
import { AgentClient } from './agent-client.ts';
import type { CommandContext } from './context.ts';
import { systemDoctorCommand } from './system-doctor.ts';
import { systemTestVaultCommand } from './system-test-vault.ts';

const canary = 'canary-57b0-not-to-be-seen';
/** A directory of this machine that is on a tmpfs. */
const inMemory = '/dev/shm';
let directory: string;
let root: string;
let programs: ReturnType<typeof createFakePrograms>;
let agent: FakeDockerAgent;
let plugin: { close(): Promise<void> };

beforeEach(async () => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'kf-dr-')));
  root = join(directory, 'root');
  for (const path of ['run/systemd/system', 'run/docker/plugins'])
    mkdirSync(join(root, path), { recursive: true });
  agent = await startFakeDockerAgent(directory);
  plugin = await startFakeServer({
    socketPath: join(root, 'run/docker/plugins/dso.sock'),
    handler: () => ({ body: {} }),
  });
  programs = createFakePrograms(directory, ['systemctl', 'docker']);
  answerUnit({});
  answerDocker();
});
afterEach(async () => {
  await agent.server.close();
  await plugin.close();
  rmSync(directory, { recursive: true });
});

function answerUnit(changes: Readonly<Record<string, string>>): void {
  const unit = {
    LoadState: 'loaded',
    UnitFileState: 'enabled',
    Before: 'docker.service',
    ...changes,
  };
  const stdout = Object.entries(unit).map(([key, value]) => `${key}=${value}\n`);
  programs.answer('systemctl', [{ when: 'show dso-agent.service *', stdout: stdout.join('') }]);
}

type Answers = Parameters<typeof programs.answer>[1];

function answerDocker(first: Answers = [], containers: readonly object[] = []): void {
  const lines = (texts: readonly string[]): string => texts.map((text) => `${text}\n`).join('');
  programs.answer('docker', [
    ...first,
    { when: 'version *', stdout: '28.2.2 1.50\n' },
    { when: 'compose version *', stdout: '2.40.3\n' },
    { when: 'info *', stdout: '\n' },
    { when: 'ps *', stdout: lines(containers.map((_, index) => `id${index}`)) },
    { when: 'container inspect *', stdout: lines(containers.map((each) => JSON.stringify(each))) },
  ]);
}

/** What `system doctor` or `system test-vault` prints, and its exit code. */
async function run(
  command: typeof systemDoctorCommand | typeof systemTestVaultCommand,
  args: readonly string[] = [],
  more: Readonly<Record<string, string>> = {},
) {
  let out = '';
  let code = 0;
  const env = {
    ...{ PATH: programs.path, DSO_AGENT_SOCKET: agent.socket, DSO_VOLUMES_DIR: inMemory },
    ...more,
  };
  const context = {
    ...{ version: '0.1.0', env, agent: new AgentClient(env) },
    docker: new Docker({ flags: [], env, hasTerminal: false }),
    stdout: { write: (text: string) => (out += text) },
    setExitCode: (exitCode: number) => (code = exitCode),
  } as unknown as CommandContext;
  await command(context, { hostRoot: root })
    .exitOverride()
    .parseAsync([...args], { from: 'user' });
  expect(out).not.toContain(canary);
  return { out, code, lines: out.split('\n') };
}
const doctor = (args: readonly string[] = [], more = {}) => run(systemDoctorCommand, args, more);

/** The line of a part. */
async function lineOf(name: string, ...args: Parameters<typeof doctor>): Promise<string> {
  const { lines } = await doctor(...args);
  return lines.find((line) => line.startsWith(`${name} ... `)) ?? `no line ${name}`;
}

const huawei = { name: 'huawei', type: 'huawei', region: 'ap-southeast-3' } as const;
const vault = { name: 'vault', type: 'vault', authMethod: 'approle' } as const;
const setStores = (...stores: FakeDockerAgent['state']['info']['stores']): void => {
  agent.state.info = { ...agent.state.info, stores, defaultStore: stores[0]?.name ?? '' };
};

describe('docker dso system doctor', () => {
  test('has one line for each part, and exit code 0 if all are well', async () => {
    setStores(huawei);
    const { lines, code } = await doctor();
    expect(lines).toEqual([
      'huawei ... OK',
      'engine ... OK (28.2.2, API 1.50)',
      'compose ... OK (2.40.3)',
      'agent ... OK (0.1.0)',
      `socket ... OK (${agent.socket})`,
      `volume plugin ... OK (${root}/run/docker/plugins/dso.sock)`,
      'engine socket ... OK (/run/docker.sock)',
      expect.stringMatching(/^tmpfs \.\.\. OK \(\/dev\/shm\)$/),
      '  note: it can be swapped out: turn swap off, or encrypt it',
      'boot order ... OK (dso-agent.service before docker.service)',
      'containers ... OK (0)',
      '',
    ]);
    expect(code).toBe(0);
  });

  test('says why a service of a swarm has not got a secret, which the engine does not say', async () => {
    const failure = { code: 'OBJECT_NOT_FOUND', message: 'there is no secret db', hint: 'make it' };
    const swarmFailures = [
      { service: 'shop/web', secret: 'db', failure },
      { service: 'shop/web', secret: 'token', failure: { code: 'INTERNAL', message: 'it is odd' } },
    ];
    agent.state.info = { ...agent.state.info, swarmFailures };
    const { lines, code } = await doctor();
    expect(lines).toContain('secret db of shop/web ... there is no secret db; make it');
    expect(lines).toContain(
      'secret token of shop/web ... it is odd; look into the log of the agent: journalctl -u dso-agent',
    );
    expect(code).toBe(1);
  });

  test('says why the agent cannot use the engine, and that it has no socket of it', async () => {
    const failure = {
      code: 'NOT_CONFIGURED',
      message: 'the container engine on /run/docker.sock: nothing listens on its socket',
      hint: 'start the engine, or name its socket with --engine-socket',
    };
    const { info } = agent.state;
    agent.state.info = { ...info, engine: { socket: '/run/docker.sock', failure } };
    expect(await lineOf('engine socket')).toBe(
      'engine socket ... the agent cannot use the container engine on /run/docker.sock: nothing listens on its socket; start the engine, or name its socket with --engine-socket',
    );
    agent.state.info = { ...info };
    delete (agent.state.info as { engine?: unknown }).engine;
    expect((await doctor()).out).toContain(
      '\n  note: the agent has none: what failed while the agent was away stays down; see --engine-socket\n',
    );
  });

  test('has the cause and the remedy of a store that cannot be read', async () => {
    setStores(huawei, { name: 'aws', type: 'aws' });
    agent.state.checks.huawei = {
      ...{ code: 'CREDENTIALS_UNAVAILABLE', message: 'huawei: the ECS has no agency' },
      hint: 'give the ECS an agency',
    };
    const { lines, code } = await doctor();
    expect(lines.slice(0, 2)).toEqual([
      'huawei ... huawei: the ECS has no agency; give the ECS an agency',
      'aws ... OK',
    ]);
    expect(code).toBe(1);
  });

  test('has the cause of the step that fails', async () => {
    setStores(vault);
    const failure = {
      code: 'CREDENTIALS_REFUSED',
      message: 'invalid secret id',
      hint: 'init again',
    };
    agent.state.checks.vault = {
      steps: [
        { name: 'reach Vault', found: 'it serves' },
        { name: 'log in', failure },
      ],
    };
    expect(await lineOf('vault')).toBe('vault ... invalid secret id; init again');
  });

  test('notes that the secret id of approle must live until the next login', async () => {
    setStores(vault);
    const { lines, code } = await doctor();
    expect(lines.slice(0, 2)).toEqual([
      'vault ... OK',
      expect.stringMatching(
        /^ {2}note: the secret id can expire .* token_max_ttl; see secret_id_ttl/,
      ),
    ]);
    expect(code).toBe(0);
  });

  test('--providers checks the named ones alone, and says which are missing', async () => {
    setStores(huawei, { name: 'main', type: 'aws' });
    const { lines } = await doctor(['--providers', 'aws,nope']);
    expect(lines.slice(0, 3)).toEqual([
      'main ... OK',
      'nope ... the host has no such store; add it: sudo docker dso init --provider nope, then sudo systemctl restart dso-agent',
      'engine ... OK (28.2.2, API 1.50)',
    ]);
  });

  test('says so if the host has no store', async () => {
    setStores();
    expect(await lineOf('stores')).toContain('the host has none; add one: sudo docker dso init');
  });

  test('--format json has the same', async () => {
    setStores(huawei);
    agent.state.checks.huawei = { code: 'STORE_TIMEOUT', message: 'late', hint: 'wait' };
    const { out } = await doctor(['--format', 'json']);
    const { version, ok, checks } = JSON.parse(out);
    expect({ version, ok }).toEqual({ version: 1, ok: false });
    expect(checks[0]).toEqual({ name: 'huawei', ok: false, cause: 'late', remedy: 'wait' });
    expect(checks[1]).toEqual({ name: 'engine', ok: true, detail: '28.2.2, API 1.50' });
  });

  describe('without an agent', () => {
    const none = { DSO_AGENT_SOCKET: '/run/kf-no-such-agent.sock' };

    test('says it once, and for each named store', async () => {
      const { lines, code } = await doctor(['--providers', 'huawei'], none);
      const cause = 'the agent of docker dso does not run: nothing listens on';
      expect(lines[0]).toContain(`huawei ... ${cause}`);
      expect(lines.find((line) => line.startsWith('agent ... '))).toContain(cause);
      expect(lines.join()).not.toContain('socket ... ');
      expect(code).toBe(1);
    });
  });

  test('says so if the agent has another version', async () => {
    agent.state.info = { ...agent.state.info, version: '0.0.9' };
    expect(await lineOf('agent')).toBe(
      'agent ... it has the version 0.0.9, and docker dso has 0.1.0; sudo systemctl restart dso-agent, or sudo docker dso system setup',
    );
  });

  test.each([
    [
      { when: 'version *', stderr: 'permission denied while trying to connect\n', code: 1 },
      'engine ... you have no right to its socket; add yourself to the group docker',
    ],
    [
      { when: 'version *', stderr: 'Cannot connect to the Docker daemon\n', code: 1 },
      'engine ... it does not respond: Cannot connect to the Docker daemon; start it',
    ],
    [
      { when: 'version *', stdout: '19.03 1.40\n' },
      'engine ... Docker 19.03 has the API 1.40; install',
    ],
    [
      { when: 'compose *', stderr: "'compose' is not a docker command", code: 1 },
      'compose ... Docker has no plugin compose; install Docker Compose 2.20',
    ],
    [{ when: 'compose *', stdout: '1.29.2\n' }, 'compose ... its version is 1.29.2; install'],
    [{ when: 'compose *', stdout: 'v2.19.1\n' }, 'compose ... its version is v2.19.1; install'],
  ])('explains what Docker says: %j', async (answer, line) => {
    answerDocker([answer]);
    const [name = ''] = line.split(' ... ');
    expect(await lineOf(name)).toContain(line);
  });

  test('explains a Docker that is not there', async () => {
    const { lines } = await doctor([], { PATH: '/nonexistent' });
    expect(lines).toContain("engine ... there is no docker in PATH; install Docker's command line");
  });

  describe('containers', () => {
    const container = { name: '/demo-app-1', env: ['PATH=/bin'], pidsLimit: null, volumes: [] };

    test('finds the text of a reference, and shows no value', async () => {
      const env = [
        'PATH=/bin',
        `KEY=${canary}`,
        'DB=dso://db#password',
        'F=dsofile://f',
        `X=a dso://${canary}`,
      ];
      answerDocker([], [container, { ...container, name: '/demo-b-1', env }]);
      const { lines, code } = await doctor();
      expect(lines).toContain(
        'container demo-b-1 ... DB, F has the text of a reference, because docker compose made it without dso; make it again: docker dso up -d',
      );
      expect(lines.join('\n')).not.toContain('demo-app-1');
      expect(code).toBe(1);
    });

    test('finds a limit of processes that is too low for the shim', async () => {
      const volumes = ['/run/dso'];
      answerDocker([], [{ ...container, pidsLimit: 3, volumes }]);
      expect(await lineOf('container demo-app-1')).toBe(
        'container demo-app-1 ... its pids_limit is 3; make it 4 or more',
      );
      for (const fine of [
        { pidsLimit: 3 },
        { pidsLimit: 4, volumes },
        { pidsLimit: -1, volumes },
      ]) {
        answerDocker([], [{ ...container, ...fine }]);
        expect(await lineOf('containers')).toBe('containers ... OK (1)');
      }
    });

    test('asks for many containers in several calls', async () => {
      answerDocker(
        [],
        Array.from({ length: 450 }, () => container),
      );
      await doctor();
      expect(
        programs.calls().filter((call) => call.startsWith('docker container inspect')),
      ).toHaveLength(3);
    });

    test('is not confused by what inspect prints', async () => {
      answerDocker(
        [{ when: 'container inspect *', stdout: 'nonsense\n{"env": 7}\n[]\nnull\n' }],
        [container],
      );
      expect(await lineOf('containers')).toMatch(/ \.\.\. OK/);
    });

    test('escapes the name of a hostile container', async () => {
      answerDocker([], [{ ...container, name: '/a\u001b[2J', env: ['D\u001bB=dso://x'] }]);
      const { out } = await doctor();
      expect(out).toContain('container a\\u{1b}[2J ... D\\u{1b}B has the text');
    });
  });

  test.each([
    [{ LoadState: 'not-found' }, /^boot order \.\.\. OK$/],
    [{ UnitFileState: 'disabled' }, /does not start with the host; sudo systemctl enable/],
    [{ Before: 'shutdown.target' }, /is not ordered before docker\.service; call sudo docker dso/],
  ])('explains the unit %j', async (changes, line) => {
    answerUnit(changes);
    expect(await lineOf('boot order')).toMatch(line);
  });

  test('notes a host without systemd', async () => {
    rmSync(join(root, 'run/systemd'), { recursive: true });
    expect((await doctor()).out).toContain(
      'note: systemd does not run here: start the agent before',
    );
  });

  test('explains a missing volume plugin, and a file in its place', async () => {
    await plugin.close();
    rmSync(join(root, 'run/docker/plugins/dso.sock'), { force: true });
    expect(await lineOf('volume plugin')).toMatch(
      / \.\.\. there is no .*dso\.sock; start the agent/,
    );
    writeFileSync(join(root, 'run/docker/plugins/dso.sock'), '');
    expect(await lineOf('volume plugin')).toContain('is not a socket; remove it');
  });

  describe('the tmpfs', () => {
    test('must be one', async () => {
      // The root of this machine is on a disk, unless it is a tmpfs itself.
      const isDisk = statfsSync('/').type !== 0x01021994;
      const { failure } = await checkVolumes({ volumesDirectory: '/' });
      expect(failure?.cause).toBe(isDisk ? '/ is on a disk' : undefined);
      expect(
        (await checkVolumes({ volumesDirectory: join(directory, 'no') })).failure?.cause,
      ).toMatch(/ENOENT$/);
    });

    test.each([
      ['rw,nosuid,noexec', 'rw', /noexec.*shim/],
      ['rw', 'rw,noexec', /noexec.*shim/],
      ['rw', 'rw,noswap', undefined],
    ])('must not have noexec: %s and %s', async (options, ofFileSystem, cause) => {
      const mountinfo = join(directory, 'mountinfo');
      writeFileSync(
        mountinfo,
        `1 0 0:1 / / rw,noexec - ext4 /dev/sda rw\n2 1 0:2 / /dev/shm ${options} shared:1 - tmpfs t ${ofFileSystem}\n`,
      );
      const { failure, note } = await checkVolumes({ volumesDirectory: inMemory }, mountinfo);
      if (cause === undefined) expect({ failure, note }).toEqual({});
      else expect(failure?.cause).toMatch(cause);
    });
  });
});

describe('docker dso system test-vault', () => {
  const testVault = (...args: string[]) => run(systemTestVaultCommand, args);
  const steps = [
    { name: 'reach Vault', found: 'https://vault.example.com:8200 serves' },
    { name: 'log in with approle', found: 'it has a token' },
  ];

  test('shows each step', async () => {
    setStores({ ...vault, address: 'https://vault.example.com:8200' });
    agent.state.checks.vault = { steps };
    const { lines, code } = await testVault();
    expect(lines).toEqual([
      'reach Vault ... OK (https://vault.example.com:8200 serves)',
      'log in with approle ... OK (it has a token)',
      'vault ... OK (https://vault.example.com:8200)',
      '',
    ]);
    expect(code).toBe(0);
  });

  test('says which step fails', async () => {
    setStores(vault);
    const failure = {
      code: 'CREDENTIALS_REFUSED',
      message: 'invalid secret id',
      hint: 'init again',
    };
    agent.state.checks.vault = { steps: [...steps.slice(0, 1), { name: 'log in', failure }] };
    const { lines, code } = await testVault();
    expect(lines.slice(1)).toEqual(['log in ... invalid secret id; init again', '']);
    expect(code).toBe(1);
  });

  test('shows the failure of an agent without steps', async () => {
    setStores(vault);
    agent.state.checks.vault = { code: 'STORE_TIMEOUT', message: 'no response', hint: 'wait' };
    expect((await testVault()).lines[0]).toBe('vault ... no response; wait');
  });

  test('--store names one of several', async () => {
    setStores({ name: 'aws', type: 'aws' }, vault, { name: 'bao', type: 'openbao' });
    expect((await testVault('--store', 'bao')).out).toBe('bao ... OK\n');
    for (const [args, message] of [
      [
        [],
        'the host has several Vaults, and none of them is the default; give --store with a name; it has vault, bao',
      ],
      [['--store', 'aws'], 'the host has no Vault aws; it has vault, bao'],
    ] as const)
      await expect(testVault(...args)).rejects.toMatchObject(summary(message));
  });

  test('takes the only Vault, also if another store is the default', async () => {
    setStores({ name: 'aws', type: 'aws' }, vault);
    expect((await testVault()).out).toBe('vault ... OK\n');
  });

  test('says so if there is no Vault', async () => {
    await expect(testVault()).rejects.toMatchObject(
      summary(
        'the host has no Vault; add one: sudo docker dso init --provider vault --vault-address URL',
      ),
    );
  });
});

function summary(text: string): Partial<SecretError> {
  const [message = '', ...hint] = text.split('; ');
  return { message, hint: hint.join('; ') };
}
