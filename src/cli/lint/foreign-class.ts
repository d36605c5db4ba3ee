import { sanitizeUserText } from '../../core/safe-text.ts';
import { nearestName } from '../../formats/suggest.ts';
import type { SecretProviderClass } from './class-object.ts';

/** Names by which users know a provider: the vendor, its product, or its add-on. */
const otherNames: Readonly<Record<string, string>> = {
  huawei: 'cce',
  huaweicloud: 'cce',
  dew: 'cce',
  csms: 'cce',
  aliyun: 'alibabacloud',
  alicloud: 'alibabacloud',
  alibaba: 'alibabacloud',
  hashicorp: 'vault',
  bao: 'openbao',
  amazon: 'aws',
};

/** The provider that a user most likely means; undefined for the provider of another vendor. */
export function suggestProvider(
  provider: string,
  knownNames: readonly string[],
): string | undefined {
  const parts = provider.toLowerCase().split(/[^a-z0-9]+/);
  for (const part of [parts.join(''), ...parts]) {
    const name = Object.hasOwn(otherNames, part) ? otherNames[part] : part;
    if (name !== undefined && knownNames.includes(name)) return name;
  }
  return nearestName(provider, knownNames);
}

/** The reason for a patch of kustomize. */
export const patchReason = 'kustomize patch';

/**
 * Why lint leaves an object out. Clusters and repositories also have classes of other vendors'
 * providers, and patches of kustomize, which are no complete classes.
 * @returns the reason, such as `provider azure`; undefined for a class to check
 */
export function reasonToLeaveOut(
  { provider, isPatch }: SecretProviderClass,
  knownNames: readonly string[],
): string | undefined {
  if (isPatch) return patchReason;
  const isForeign =
    provider !== '' &&
    !knownNames.includes(provider) &&
    suggestProvider(provider, knownNames) === undefined;
  return isForeign ? `provider ${sanitizeUserText(provider)}` : undefined;
}
