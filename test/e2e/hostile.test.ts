import { expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'esbuild';
import { createDriverClient, type DriverClient } from '../../src/csi/client.ts';
import { controlPlaneLacks } from '../servers/control-plane/control-plane.ts';
import { chartLacks } from './chart-objects.ts';
import { createChance, hostile, hugeSecrets, request, words } from './hostile-requests.ts';
import { provideRoughStage, publish, type RoughStage } from './rough-stage.ts';
import { describeWhere } from './where-possible.ts';

const lacks = [...(await controlPlaneLacks()), ...(await chartLacks())];
const describe = describeWhere(import.meta.filename, lacks);

let stage: RoughStage;
if (lacks.length === 0) provideRoughStage((made) => (stage = made));

async function residentMebibytes(pid: number): Promise<number> {
  const [, kilobytes = '0'] = /VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1024;
}

describe('10,000 hostile requests', () => {
  test('are each refused with a final code, cost nobody else anything, and leave nothing behind', async () => {
    const directory = await stage.freshDirectory();
    const keyferry = await stage.keyferryIn(directory, ['--log-level', 'error']);
    const driver = stage.driverFor(directory);
    const running = await publish(driver, 1);
    const client = createDriverClient({ socketPath: join(directory, 'cce.sock') });
    stage.atEnd(() => client.close());
    const chance = createChance('10,000 hostile requests');
    const codes = new Map<string, number>();
    let sent = 0;
    async function attack(): Promise<void> {
      while (sent < 10_000) {
        const number = (sent += 1);
        const make = hostile[number % hostile.length]!;
        const { code } = await client.mount(make(chance, number), { timeoutMs: 60_000 });
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
    }
    await Promise.all(Array.from({ length: 32 }, attack));
    expect([...codes.keys()].sort()).toEqual([
      ...['FAILED_PRECONDITION', 'INVALID_ARGUMENT', 'NOT_FOUND', 'PERMISSION_DENIED', 'UNAUTHENTICATED'],
    ]);
    expect(await driver.republish(running)).toMatchObject({ last: 'mounted', files: running.files });
    expect(await residentMebibytes(keyferry.pid)).toBeLessThan(192);
    expect(keyferry.output()).not.toContain('CANARY');
    expect(keyferry.output()).not.toMatch(/unhandled|RangeError|TypeError/);
  }, 120_000);
});

/** Runs attacker.ts in a process of its own, so that its work is not ours. `stop` answers how often it was answered by which code. */
async function startAttack(socketPath: string): Promise<{ stop(): Promise<Record<string, number>> }> {
  const program = join(stage.dir, 'attacker.cjs');
  await build({
    ...{ entryPoints: [join(import.meta.dirname, 'attacker.ts')], outfile: program },
    ...{ bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' },
  });
  const child = spawn(process.execPath, [program, socketPath], { stdio: ['ignore', 'pipe', 'inherit'] });
  const printed = text(child.stdout);
  async function stop(): Promise<Record<string, number>> {
    child.kill();
    return JSON.parse(await printed) as Record<string, number>;
  }
  stage.atEnd(stop);
  return { stop };
}

/** The 99th of a hundred times, in milliseconds: of a victim's mounts, and of the same while it is attacked. */
type Times = { readonly usual: number; readonly attacked: number };

describe('one namespace that attacks every cap', () => {
  const freshSecrets = 6_000;
  let taken = 0;

  /** Mounts new pods, each with a secret that nobody has read yet, four at a time; the 99th of a hundred times. */
  async function victim(client: DriverClient, forMs: number): Promise<number> {
    const times: number[] = [];
    const end = performance.now() + forMs;
    async function flow(): Promise<void> {
      while (performance.now() < end) {
        taken += 1;
        const objects = `- {objectName: fresh-${taken % freshSecrets}, objectType: csms, objectVersion: latest}`;
        const begun = performance.now();
        const { code } = await client.mount(request(`pod-${taken}`, { objects }), { timeoutMs: 60_000 });
        times.push(performance.now() - begun);
        expect(code).toBe('OK');
        await sleep(20);
      }
    }
    await Promise.all(Array.from({ length: 4 }, flow));
    return times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)]!;
  }

  /** With a Keyferry that has not met the attacker yet. */
  async function measure(): Promise<Times> {
    const directory = await stage.freshDirectory();
    await stage.keyferryIn(directory, ['--log-level', 'error'], {
      // A rate such as real accounts have: it is shared fairly, where connections are not.
      KEYFERRY_CCE_RATE: '100',
      KEYFERRY_CCE_BURST: '200',
    });
    const socketPath = join(directory, 'cce.sock');
    const client = createDriverClient({ socketPath });
    stage.atEnd(() => client.close());
    await victim(client, 1_000);
    const usual = await victim(client, 5_000);
    const attack = await startAttack(socketPath);
    await sleep(1_000);
    const attacked = await victim(client, 8_000);
    expect(Object.values(await attack.stop()).length).toBeGreaterThan(0);
    return { usual, attacked };
  }

  test("leaves another's p99 within twice its usual", async () => {
    const { csms } = stage.clouds.cce;
    const list = Array.from({ length: 300 }, (_, index) => ({ a: index, b: words, c: words }));
    csms.put('greedy-1', JSON.stringify({ list }));
    const huge = Array.from({ length: hugeSecrets }, (_, index) => `huge-${index}`);
    for (const name of huge) csms.put(name, 'h'.repeat(64_000));
    const annotation = JSON.stringify(['greedy-1', ...huge]);
    await stage.cluster.account('team-b/app', { 'cce.io/dew-resource': annotation });
    const fresh = Array.from({ length: freshSecrets }, (_, index) => `fresh-${index}`);
    for (const name of fresh) csms.put(name, 'CANARY');
    await stage.allow(...fresh);
    csms.behave({ delayMs: 30 });
    // What else this machine does can only make it worse: one round of three that shows it is proof.
    const rounds: Times[] = [];
    for (let round = 0; round < 3; round += 1) {
      rounds.push(await measure());
      if (rounds.some(({ usual, attacked }) => attacked <= 2 * usual)) return;
    }
    expect(rounds).toEqual('attacked within twice the usual');
  }, 180_000);
});
