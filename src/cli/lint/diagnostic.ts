import type { ErrorCode } from '../../core/errors.ts';

/** A place in a file of classes; line and column count from 1. */
export type SourceLocation = {
  readonly file: string;
  readonly line: number;
  readonly column: number;
};

/** Something lint has to say about a class, or about a file that it cannot read. */
export type Diagnostic = {
  readonly place: SourceLocation;
  /** An error would stop a mount, or make the class do less than it says. A hint is for thought only. */
  readonly severity: 'error' | 'hint';
  /** The error a mount would end with; hints have none. */
  readonly code?: ErrorCode;
  /** The class's name, where it is known. */
  readonly class?: string;
  /** Names the thing and the cause. */
  readonly message: string;
  /** What to do about it. */
  readonly remedy?: string;
};
