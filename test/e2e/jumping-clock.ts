import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { KeyferryProcess } from '../driver/keyferry-process.ts';

/**
 * A wall clock that a test can set. Timers continue, as when an administrator or NTP sets the real
 * one.
 */
export type JumpingClock = {
  /** Environment variables for the process that uses this clock. */
  readonly env: Readonly<Record<string, string>>;
  /** Sets it to now plus this offset in milliseconds. Resolves when the process uses it. */
  set(keyferry: KeyferryProcess, offsetMs: number): Promise<void>;
};

/** Loaded before the program: Date is all of the clock that JavaScript sees. */
const preload = `
  const { readFileSync } = require('node:fs');
  const real = Date.now;
  let offset = 0;
  Date.now = () => real() + offset;
  globalThis.Date = new Proxy(Date, {
    construct: (target, words, self) =>
      Reflect.construct(target, words.length === 0 ? [target.now()] : words, self),
  });
  process.on('SIGUSR2', () => {
    offset = Number(readFileSync(process.env.JUMPING_CLOCK, 'utf8'));
    process.stderr.write(JSON.stringify({ level: 'info', msg: 'the clock is set', offset }) + '\\n');
  });
`;

/** Puts its files into a directory. */
export async function createJumpingClock(directory: string): Promise<JumpingClock> {
  const [program, file] = [join(directory, 'clock.cjs'), join(directory, 'clock')];
  await writeFile(program, preload);
  return {
    env: { NODE_OPTIONS: `--require ${program}`, JUMPING_CLOCK: file },
    async set(keyferry, offsetMs) {
      await writeFile(file, String(offsetMs));
      process.kill(keyferry.pid, 'SIGUSR2');
      await keyferry.waitForLog(
        ({ msg, offset }) => msg === 'the clock is set' && offset === offsetMs,
      );
    },
  };
}
