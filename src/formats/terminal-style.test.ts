import { describe, expect, test } from '@jest/globals';
import { createStyler } from './terminal-style.ts';

const styled = '\u001b[31mtext\u001b[39m';

describe('styles of the output', () => {
  test.each<[string, boolean, Record<string, string>, boolean]>([
    ['on a terminal', true, {}, true],
    ['not in a file or pipe', false, {}, false],
    ['not on a terminal without styles', true, { TERM: 'dumb' }, false],
    ['not with NO_COLOR', true, { NO_COLOR: '1' }, false],
    ['with an empty NO_COLOR, which counts as absent', true, { NO_COLOR: '' }, true],
    ['in a pipe with FORCE_COLOR', false, { FORCE_COLOR: '1', TERM: 'dumb' }, true],
    ['not with FORCE_COLOR=0', true, { FORCE_COLOR: '0' }, false],
    ['not with FORCE_COLOR=false', true, { FORCE_COLOR: 'false' }, false],
    ['not with both: NO_COLOR wins', true, { NO_COLOR: '1', FORCE_COLOR: '1' }, false],
  ])('%s', (_, isTTY, env, isStyled) => {
    const style = createStyler({ write: () => true, isTTY }, env);
    expect(style('red', 'text')).toBe(isStyled ? styled : 'text');
  });

  test('not where the output does not say what it is', () => {
    expect(createStyler({ write: () => true }, {})('red', 'text')).toBe('text');
  });
});
