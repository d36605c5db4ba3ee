import type { Readable } from 'node:stream';
import type { Output } from '../../formats/terminal-style.ts';
import type { Mode, SecretReader } from '../agent-api.ts';
import type { CommandLine } from '../compose/command-line.ts';
import type { Docker, Environment } from '../compose/docker.ts';
import type { AddLocalSecrets, MakeLocalStore } from './init.ts';

/** What the commands of `docker dso` get of the process. */
export type CommandContext = {
  readonly version: string;
  readonly env: Environment;
  readonly cwd: string;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborts when the reader of the output has left: `docker dso logs --agent -f | head`. */
  readonly outputEnd: AbortSignal;
  /** The whole command line: `-f` and `-p` stand before the command. */
  readonly line: CommandLine;
  readonly docker: Docker;
  /** Undefined: neither `--mode` nor `DSO_MODE` says, and an agent is asked. */
  readonly mode: Mode | undefined;
  /** The agent or, in local mode, what stands in for it. */
  readonly agent: SecretReader;
  /** Local mode, also if the mode is another. */
  readonly openLocal: () => Promise<SecretReader>;
  /** The file of the plugin. */
  readonly program: string;
  /** How the user calls it: `docker dso`, or the path of the program. */
  readonly calledAs: string;
  readonly makeLocalStore: MakeLocalStore;
  readonly addLocalSecrets: AddLocalSecrets;
  readonly setExitCode: (code: number) => void;
};
