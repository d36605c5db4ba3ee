import { settingsOf } from '../setting.ts';

export const { checked, faulty } = settingsOf('aws');
