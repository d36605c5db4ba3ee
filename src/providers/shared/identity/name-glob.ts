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
  const [, beginning] = /^([^*]*)\*{2,}$/s.exec(glob) ?? [];
  if (beginning !== undefined) return (name) => name.startsWith(beginning);
  const tokens = glob.match(/\*+|[^*]/gs) ?? [];
  const kinds = tokens.map((token) =>
    token === '*' ? run : token.startsWith('*') ? anyRun : token.charCodeAt(0),
  );
  const ends = kinds.length;
  // reached[n]: the first n tokens can stand for the name as far as it was read. Made once: a glob is asked at every mount.
  const rows: [Uint8Array, Uint8Array] = [new Uint8Array(ends + 1), new Uint8Array(ends + 1)];

  return (name) => {
    let [reached, next] = rows;
    reached[0] = 1;
    for (let index = 0; index < ends; index++)
      reached[index + 1] = (kinds[index] ?? 0) <= anyRun ? (reached[index] ?? 0) : 0;
    for (let at = 0; at < name.length; at++) {
      const character = name.charCodeAt(at);
      let alive = 0;
      next[0] = 0;
      for (let index = 0; index < ends; index++) {
        const kind = kinds[index] ?? 0;
        const passed =
          kind <= anyRun
            ? (next[index] ?? 0) | (kind === anyRun || character !== slash ? (reached[index + 1] ?? 0) : 0)
            : kind === character
              ? (reached[index] ?? 0)
              : 0;
        next[index + 1] = passed;
        alive |= passed;
      }
      if (alive === 0) return false;
      [reached, next] = [next, reached];
    }
    return reached[ends] === 1;
  };
}

const slash = '/'.charCodeAt(0);
/** Kinds of tokens that are no character. */
const run = -2;
const anyRun = -1;
