/** Whether a name, whole, is what a glob stands for. */
export type NameGlob = (name: string) => boolean;

/**
 * `*` is any run of characters without `/`, `**` any run at all, both perhaps empty; everything else stands for itself, so that no name
 * needs escaping (glob libraries give meaning to `{`, `[`, `!` and dots, which occur in names). Time is bounded by the product of
 * the two lengths.
 */
export function compileNameGlob(glob: string): NameGlob {
  const tokens = glob.match(/\*+|[^*]/gs) ?? [];
  return (name) => {
    // reached[n]: the first n tokens can stand for the name as far as it was read.
    let reached = [true];
    tokens.forEach((token, index) => (reached[index + 1] = isWildcard(token) && reached[index] === true));
    for (const character of name.split('')) {
      const next = [false];
      let alive = false;
      for (const [index, token] of tokens.entries()) {
        const passed = isWildcard(token)
          ? next[index] === true || (reached[index + 1] === true && (token !== '*' || character !== '/'))
          : reached[index] === true && token === character;
        next[index + 1] = passed;
        alive ||= passed;
      }
      if (!alive) return false;
      reached = next;
    }
    return reached[tokens.length] === true;
  };
}

function isWildcard(token: string): boolean {
  return token.startsWith('*');
}
