import { SecretError } from '../../errors/secret-error.ts';
import { regionHost } from '../../http/endpoint.ts';

/** Whether a text has the form of a region: hosts can be made of it. */
export function isRegion(text: string): boolean {
  try {
    regionHost('kms.{region}.aliyuncs.com', text);
    return true;
  } catch (error) {
    if (error instanceof SecretError) return false;
    throw error;
  }
}
