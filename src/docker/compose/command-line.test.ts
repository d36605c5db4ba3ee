import { describe, expect, test } from '@jest/globals';
import { readCommandLine } from './command-line.ts';
import { valuesOf } from './flags.ts';

describe('the command line of docker dso', () => {
  test('has the flags of Docker before dso, and those of Compose after it', () => {
    const line = readCommandLine(
      '--context x --log-level debug -Hunix:///a dso -f a.yaml --profile p up -d app'.split(' '),
    );
    expect(line.docker).toEqual(['--context', 'x', '--log-level', 'debug', '-Hunix:///a']);
    expect(valuesOf(line.compose, 'file')).toEqual(['a.yaml']);
    expect(valuesOf(line.compose, 'profile')).toEqual(['p']);
    expect([line.command, ...line.args]).toEqual(['up', '-d', 'app']);
  });

  test('has --config twice: the folder of Docker before dso, dso.yaml after it', () => {
    const line = readCommandLine(['--config', '/docker', 'dso', '--config=my.yaml', 'up']);
    expect(line).toMatchObject({ docker: ['--config', '/docker'], config: 'my.yaml', compose: [] });
  });

  test('can come without dso, if the program is started by itself', () => {
    const line = readCommandLine(['-f', 'a.yaml', 'up']);
    expect(line).toMatchObject({ isPlugin: false, docker: [], command: 'up', args: [] });
    expect(valuesOf(line.compose, 'file')).toEqual(['a.yaml']);
  });

  test('takes dso as the name of a service after the command', () => {
    expect(readCommandLine(['dso', 'logs', 'dso'])).toMatchObject({
      command: 'logs',
      args: ['dso'],
    });
  });

  test('can be empty', () => {
    expect(readCommandLine(['dso'])).toEqual({
      ...{ isPlugin: true, docker: [], compose: [], args: [] },
    });
  });
});
