/** Whether a name, whole, is what a glob stands for. */
export type NameGlob = (name: string) => boolean;

/**
 * `*` is any run of characters without `/`, `**` any run at all, both perhaps empty; everything else stands for itself, so that no name
 * needs escaping (glob libraries give meaning to `{`, `[`, `!` and dots, which occur in names). Time is bounded by the product of
 * the two lengths.
 */
export function compileNameGlob(glob: string): NameGlob {
  if (!glob.includes('*')) return (name) => name === glob;
  // What most grants are: asked at every mount.
  const [, prefix] = /^([^*]*)\*{2,}$/s.exec(glob) ?? [];
  if (prefix !== undefined) return (name) => name.startsWith(prefix);
  const tokens = glob.match(/\*+|[^*]/gs) ?? [];
  const kinds = tokens.map((token) =>
    token === '*' ? singleStar : token.startsWith('*') ? doubleStar : token.charCodeAt(0),
  );
  const tokenCount = kinds.length;
  // reached[n]: the first n tokens can stand for the name as far as it was read. Made once: a glob is asked at every mount.
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
/** Kinds of tokens that are no character. */
const singleStar = -2;
const doubleStar = -1;
