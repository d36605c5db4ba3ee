import type { ErrorCode } from '../../core/errors.ts';

/** A location in a file of classes. Line and column count from 1. */
export type SourceLocation = {
  readonly file: string;
  readonly line: number;
  readonly column: number;
};

/** A message of lint about a class, or about a file that it cannot read. */
export type Diagnostic = {
  readonly place: SourceLocation;
  /** `error`: a mount would fail, or ignore a part of the class. `hint`: it may be intended. */
  readonly severity: 'error' | 'hint';
  /** The error code of the mount. Hints, and files that cannot be read, have none. */
  readonly code?: ErrorCode;
  /** The class's name, if it is known. */
  readonly class?: string;
  /** The class's namespace; empty if the class names none. */
  readonly namespace?: string;
  /** Names the thing and the cause. */
  readonly message: string;
  /** How to fix it. */
  readonly remedy?: string;
};
