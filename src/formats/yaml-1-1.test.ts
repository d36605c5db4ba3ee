import { expect, test } from '@jest/globals';
import { readYaml11 } from './yaml-1-1.ts';

/** What `sigs.k8s.io/yaml` 1.4 gives for a field of type string. */
const read: Readonly<Record<string, string>> = {
  '0123': '83',
  yes: 'true',
  '1.50': '1.5',
  '0o17': '15',
  '0O17': '15',
  '0x1F': '31',
  '0b101': '5',
  '1_000': '1000',
  '+5': '5',
  '-0': '0',
  '-012': '-10',
  '08': '8',
  '1e3': '1000',
  '1e6': '1e+06',
  '123456.0': '123456',
  '1234567.5': '1.2345675e+06',
  '1.0': '1',
  '.5': '0.5',
  '5.': '5',
  '1e-5': '1e-05',
  '0.0001': '0.0001',
  '16777217': '16777217',
  '16777217.0': '1.6777216e+07',
  '3.14159265358979': '3.1415927',
  y: 'true',
  n: 'false',
  on: 'true',
  Off: 'false',
  TRUE: 'true',
  '.inf': '+Inf',
  '-.inf': '-Inf',
  '.nan': 'NaN',
  '0_7': '7',
  '12345678901234567890': '12345678901234567890',
  '123456789012345678901': '1.2345679e+20',
  '-9223372036854775809': '-9.223372e+18',
  '00.5': '0.5',
  '-0.0': '-0',
  '0.30000001': '0.3',
  '0777777777777777777777777': '7.777778e+23',
};

test.each(Object.entries(read))('%s is read as %s', (text, result) => {
  expect(readYaml11(text)).toBe(result);
});

test.each([
  'db-user',
  '2001-01-01',
  '1:30',
  '1e400',
  '0x',
  '0xFFFFFFFFFFFFFFFFFF',
  '_1',
  'yEs',
  'true',
  '',
  'v1',
  '1.2.3',
  '12',
])('%s is read as it is', (text) => {
  expect(readYaml11(text)).toBe(text);
});
