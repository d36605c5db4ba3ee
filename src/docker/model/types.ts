import type { Inject, Rotation } from '../config/types.ts';
import type { DsoProblem } from '../problem.ts';
import type { JsonObject } from './compose-model.ts';
import type { DsoRef } from './reference.ts';

/** What one service receives. Names and references, and never a value. */
export type Injection = {
  readonly project: string;
  readonly service: string;
  readonly variables: readonly { readonly name: string; readonly ref: DsoRef }[];
  /** Files with one path have one ref. */
  readonly files: readonly InjectedFile[];
  /** Whether `docker exec` sees the variables. */
  readonly exec: 'on' | 'off';
  /** Absent: nothing happens to the service when a secret changes. */
  readonly rotation?: Rotation;
};

/** A file below `/run/secrets/dso`. */
export type InjectedFile = {
  /** Relative to that directory. */
  readonly path: string;
  readonly ref: DsoRef;
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** The variable that gets the absolute path. Absent: no variable asked for the file. */
  readonly variable?: string;
};

/** One secret that a service asks for. Without a name: a file that no variable names. */
export type SecretRequest = {
  readonly name?: string;
  readonly ref: DsoRef;
  readonly inject: Inject;
};

/** A service of the model. */
export type ServiceInModel = {
  readonly project: string;
  readonly service: string;
  readonly definition: JsonObject;
};

/** Receives a problem. */
export type Report = (problem: DsoProblem) => void;

/** Reports a problem at a key of the service. */
export type ReportInService = (
  severity: DsoProblem['severity'],
  code: DsoProblem['code'],
  key: readonly (string | number)[],
  message: string,
  hint: string,
) => void;
