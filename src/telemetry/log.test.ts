import { describe, expect, test } from '@jest/globals';
import type { Logger } from 'pino';
import { createLog, type LogFormat } from './log.ts';

/** What the log writes for this event. */
function lineOf(format: LogFormat, write: (log: Logger) => void): string {
  let output = '';
  write(createLog('info', format, { write: (line) => (output += line) }));
  return output;
}

describe('the log', () => {
  test('writes one JSON object a line', () => {
    const line = lineOf('json', (log) => log.info({ provider: 'cce' }, 'serving'));
    expect(JSON.parse(line)).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      provider: 'cce',
      msg: 'serving',
    });
  });

  test('as text has the time, the level, the message, and then the fields', () => {
    const line = lineOf('text', (log) =>
      log.child({ provider: 'cce' }).warn({ files: 2, pod: 'a b', names: ['x'] }, 'not served'),
    );
    expect(line).toMatch(
      /^\d{4}-\d\d-\d\dT\S+Z WARN {2}not served provider=cce files=2 pod="a b" names=\["x"\]\n$/,
    );
  });

  test('as text writes a line without a message, and below its level none', () => {
    expect(lineOf('text', (log) => log.error({ code: '' }))).toMatch(/Z ERROR {2}code=""\n$/);
    expect(lineOf('text', (log) => log.debug('detail'))).toBe('');
  });

  test('as text keeps hostile text in one printable line', () => {
    const hostile = 'a\nb \u001b[31m\u202e level=error';
    expect(lineOf('text', (log) => log.info({ secret: hostile }, hostile))).toMatch(
      /Z INFO {2}a\\u\{a\}b \\u\{1b\}\[31m\\u\{202e\} level=error secret="a\\nb \\u001b\[31m\\u\{202e\} level=error"\n$/,
    );
  });

  test('as text can be kept as JSON as well', () => {
    const lines: string[] = [];
    const ignore = { write: (): void => undefined };
    const log = createLog('info', 'text', ignore, { write: (line) => void lines.push(line) });
    log.info('serving');
    log.debug('detail');
    expect(lines.map((line): unknown => JSON.parse(line))).toMatchObject([
      { level: 'info', msg: 'serving' },
    ]);
  });
});
