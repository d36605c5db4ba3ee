/** Whether a glob matches the whole name. */
export type NameGlob = (name: string) => boolean;

/**
 * Compiles a glob. `*` matches any characters but `/`, and `**` matches any characters. Both also
 * match nothing. Every other character matches itself, so no name needs escaping. Glob libraries
 * give a meaning to `{`, `[`, `!` and dots, which occur in names. A match takes at most time in
 * proportion to the product of the two lengths.
 */
export function compileNameGlob(glob: string): NameGlob {
  if (!glob.includes('*')) return (name) => name === glob;
  // A fast path: most grants have this form, and each mount checks them.
  const [, prefix] = /^([^*]*)\*{2,}$/s.exec(glob) ?? [];
  if (prefix !== undefined) return (name) => name.startsWith(prefix);
  const tokens = glob.match(/\*+|[^*]/gs) ?? [];
  const kinds = tokens.map((token) =>
    token === '*' ? singleStar : token.startsWith('*') ? doubleStar : token.charCodeAt(0),
  );
  const tokenCount = kinds.length;
  // reached[n]: the first n tokens match the characters of the name so far. Allocated once, because
  // each mount checks the globs.
  const rows: [Uint8Array, Uint8Array] = [
    new Uint8Array(tokenCount + 1),
    new Uint8Array(tokenCount + 1),
  ];

  return (name) => {
    let [reached, next] = rows;
    reached[0] = 1;
    for (let index = 0; index < tokenCount; index++)
      reached[index + 1] = (kinds[index] ?? 0) <= doubleStar ? (reached[index] ?? 0) : 0;
    for (let position = 0; position < name.length; position++) {
      const character = name.charCodeAt(position);
      let anyReached = 0;
      next[0] = 0;
      for (let index = 0; index < tokenCount; index++) {
        const kind = kinds[index] ?? 0;
        const tokenReached =
          kind <= doubleStar
            ? (next[index] ?? 0) |
              (kind === doubleStar || character !== slash ? (reached[index + 1] ?? 0) : 0)
            : kind === character
              ? (reached[index] ?? 0)
              : 0;
        next[index + 1] = tokenReached;
        anyReached |= tokenReached;
      }
      if (anyReached === 0) return false;
      [reached, next] = [next, reached];
    }
    return reached[tokenCount] === 1;
  };
}

const slash = '/'.charCodeAt(0);
/** Kinds of tokens. A character has its code as its kind. */
const singleStar = -2;
const doubleStar = -1;
