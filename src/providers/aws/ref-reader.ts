import type { SecretRef } from '../../plan/plan.ts';
import type { Refuse } from '../file-names.ts';
import type { AwsService } from './arn.ts';

/** What is needed to read what an object asks for. */
export type RefReader = {
  /** Of the class, or of the node; none offline, and where ARNs alone say it. */
  readonly region: string | undefined;
  readonly failoverRegion: string | undefined;
  readonly refuse: Refuse;
  readonly warn: Refuse;
};

/** A secret in one region. */
export type Target = { readonly service: AwsService; readonly name: string; readonly region?: string };

/** Which of its versions. */
export type Selection = Pick<SecretRef, 'version' | 'stage'>;
