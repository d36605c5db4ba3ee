import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type JsonValue, toJsonText } from '../../formats/json.ts';
import { readDsoConfig } from '../config/read.ts';
import type { ComposeModel, JsonObject } from './compose-model.ts';
import { hasReference } from './misplaced.ts';
import { formatReference } from './reference.ts';
import { type RewriteInput, rewrite } from './rewrite.ts';

const configs = [
  '',
  'exec: off',
  `providers: {aws: {type: aws}, vault: {type: vault}}
defaults: {provider: vault, rotation: true}
secrets:
  - {name: a, mappings: {x: BARE}}
  - {name: b, inject: {type: file, mode: 0400}, mappings: {x: FILE}, targets: {labels: {t: "1"}}}`,
].map((text) => readDsoConfig(text, 'dso.yaml').config!);

const images = {
  a: { entrypoint: ['run', '$HOME'], path: '/bin', healthcheck: ['CMD-SHELL', 'x'] },
  b: { cmd: ['/app'] },
};

const reference = fc.constantFrom(
  ...['dso://a', 'dso://aws/db#password', 'dsofile://tls#key', 'dsofile://vault/x/$$y'],
);
const plain = fc.constantFrom('', 'text', '$$HOME', 'dso', null);
/** A text that is wrong in some places, but not in all. */
const anyText = fc.oneof(
  { weight: 8, arbitrary: plain },
  { weight: 1, arbitrary: fc.constantFrom('dso:///a', 'x dso://a', 'DSO://a', 'dso://..') },
);
const environment = fc.dictionary(
  fc.constantFrom('A', 'B', 'BARE', 'FILE', 'PATH', 'x-c', '__proto__'),
  fc.oneof({ weight: 3, arbitrary: reference }, { weight: 3, arbitrary: plain }, anyText),
);
const service = fc.record(
  {
    image: fc.constantFrom('a', 'b'),
    environment,
    entrypoint: fc.constantFrom(null, [], ['e']),
    command: fc.oneof(fc.constantFrom(null, [], ['c', '$$1']), fc.array(anyText)),
    healthcheck: fc.constantFrom({ test: ['NONE'] }, { test: ['CMD', 'y'] }, { interval: '1s' }),
    labels: fc.constantFrom({}, { t: '1' }),
    init: fc.boolean(),
    volumes: fc.constantFrom([], [{ type: 'bind', source: '/x', target: '/y' }]),
    'x-anchor': fc.oneof(reference, plain),
  },
  { requiredKeys: ['image'] },
);
const model = fc.record(
  {
    name: fc.constantFrom('shop', 'a_b'),
    services: fc.dictionary(fc.constantFrom('app', 'b_c', '1', 'x-y'), service, { minKeys: 1 }),
    volumes: fc.constantFrom({ data: { name: 'shop_data' } }),
    'x-env': environment,
    configs: fc.dictionary(fc.constant('c'), anyText),
  },
  { requiredKeys: ['name', 'services'] },
);
const input: fc.Arbitrary<RewriteInput> = fc.record({
  model: model,
  images: fc.constant(images),
  config: fc.constantFrom(...configs),
});

const servicesOf = (written: ComposeModel) => Object.entries(written.services as JsonObject);

test('rewrite leaves no reference in the model that it returns', () => {
  let rewritten = 0;
  fc.assert(
    fc.property(input, (given) => {
      const { model: written } = rewrite(given);
      if (written === undefined) return;
      rewritten += 1;
      expect(hasReference(written)).toBe(false);
      expect(toJsonText(written)).not.toMatch(/dso(file)?:\/\//i);
    }),
    { numRuns: 500 },
  );
  // Most models of the property have no fault.
  expect(rewritten).toBeGreaterThan(30);
});

test('rewrite returns a model exactly if no problem is an error', () => {
  fc.assert(
    fc.property(input, (given) => {
      const { model: written, problems } = rewrite(given);
      expect(written === undefined).toBe(problems.some(({ severity }) => severity === 'error'));
    }),
  );
});

test('rewrite changes no service that receives nothing and mentions no reference', () => {
  fc.assert(
    fc.property(input, (given) => {
      const before = toJsonText(given.model);
      const { model: written, services } = rewrite(given);
      expect(toJsonText(given.model as JsonValue)).toBe(before);
      const changed = new Set(services.map(({ service: name }) => name));
      for (const [name, definition] of written === undefined ? [] : servicesOf(given.model))
        if (!changed.has(name) && !hasReference(definition))
          expect((written!.services as JsonObject)[name]).toBe(definition);
    }),
  );
});

test('rewrite gives the same bytes each time, and changes its own result no more', () => {
  fc.assert(
    fc.property(input, (given) => {
      const first = rewrite(given);
      expect(rewrite(given)).toEqual(first);
      if (first.model === undefined) return;
      const bytes = toJsonText(first.model);
      expect(toJsonText(rewrite(given).model!)).toBe(bytes);
      const second = rewrite({ ...given, model: first.model });
      expect(second.problems).toEqual([]);
      expect(second.services).toEqual([]);
      expect(toJsonText(second.model!)).toBe(bytes);
    }),
  );
});

test('rewrite keeps every reference, with its variable', () => {
  fc.assert(
    fc.property(input, ({ config, ...given }) => {
      const { model: written, services } = rewrite({ ...given, config });
      if (written === undefined) return;
      for (const [name, definition] of servicesOf(given.model)) {
        const { environment: own = {} } = definition as { environment?: JsonObject };
        const injection = services.find(({ service: of }) => of === name);
        for (const [variable, value] of Object.entries(own)) {
          if (typeof value !== 'string' || !hasReference(value)) continue;
          const found = [
            ...injection!.variables.map((item) => ({ ...item, kind: 'variable' as const })),
            ...injection!.files.map((item) => ({
              ...{ name: item.variable, ref: item.ref, kind: 'file' as const },
            })),
          ].filter((item) => item.name === variable);
          expect(found).toHaveLength(1);
          const text = formatReference(found[0]!);
          const short = text.replace(/:\/\/vault\//, '://');
          expect([text, short]).toContain(value.replaceAll('$$', () => '$'));
        }
      }
    }),
  );
});
