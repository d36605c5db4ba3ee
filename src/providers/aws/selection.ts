import { quoteForeign } from '../../errors/status-text.ts';
import type { YamlMap } from '../../plan/yaml-list.ts';
import type { Refuse, Text } from '../file-names.ts';
import { filled } from '../object-fields.ts';
import type { AwsService } from './arn.ts';
import type { RefReader, Selection } from './ref-reader.ts';

/** What `objectVersion` and `objectVersionLabel` of an object, or of its failoverObject, select. */
export function readSelection(
  map: YamlMap,
  service: AwsService,
  reader: Pick<RefReader, 'refuse' | 'warn'>,
): Selection {
  return service === 'ssm' ? parameterSelection(map, reader.refuse) : secretSelection(map, reader);
}

function secretSelection(map: YamlMap, { refuse, warn }: Pick<RefReader, 'refuse' | 'warn'>): Selection {
  const version = filled(map, 'objectVersion');
  const label = filled(map, 'objectVersionLabel');
  for (const [key, given] of Object.entries({ objectVersion: version, objectVersionLabel: label }))
    if (given !== undefined && !/^[\x21-\x7e]{1,256}$/.test(given.text))
      refuse(given, `${key} of ${map.where} has spaces or unusual characters, or is too long`);
  if (version !== undefined && label !== undefined)
    warn(
      label,
      `${map.where} has both objectVersion and objectVersionLabel: once the label moves to another version, AWS refuses them`,
      'keep one of them',
    );
  // AWS takes this label by default, too: so an object that names it asks the same as one that does not.
  const stage = label?.text ?? (version === undefined ? 'AWSCURRENT' : undefined);
  return { ...(version && { version: version.text }), ...(stage !== undefined && { stage }) };
}

/** SSM takes `name:3` for a version and `name:prod` for a label, so either stands under either key. */
function parameterSelection(map: YamlMap, refuse: Refuse): Selection {
  const version = filled(map, 'objectVersion');
  const label = filled(map, 'objectVersionLabel');
  if (version !== undefined && label !== undefined)
    refuse(
      label,
      `${map.where} has both objectVersion and objectVersionLabel`,
      'a parameter takes one of them',
    );
  const given: Text | undefined = version ?? label;
  if (given === undefined) return {};
  const { text } = given;
  if (/^[1-9]\d{0,17}$/.test(text)) return { version: text };
  // https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-labels.html
  if (!/^[A-Za-z_.-][\w.-]{0,99}$/.test(text))
    refuse(
      given,
      `${map.where} asks for what is no version or label of a parameter: ${quoteForeign(text)}`,
      'a version is a number from 1, a label has letters, digits and "_.-"',
    );
  return { stage: text };
}
