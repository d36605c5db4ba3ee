/**
 * Names of former versions of the vendors' providers, or of their other tools, in lower case, and
 * what they are called now.
 */
const formerNames: Readonly<Record<string, string>> = {
  objectpath: 'secretPath',
  vaultrole: 'roleName',
  vaultrolename: 'roleName',
  versionstage: 'objectVersionLabel',
  versionid: 'objectVersion',
};

/** Shorter names are part of too many others. */
const minPartLength = 4;

/**
 * The known name that is nearest to `name`. It differs only in letter case, or by at most a third
 * of the letters (never more than three) in insertions, deletions, substitutions and swaps of
 * neighbours. A former name gives the present one. Undefined if no known name is near.
 * @param maxEdits another limit
 */
export function nearestName(
  name: string,
  known: Iterable<string>,
  maxEdits = Math.min(3, Math.max(1, Math.floor(name.length / 3))),
): string | undefined {
  const typed = name.toLowerCase();
  const present = Object.hasOwn(formerNames, typed) ? formerNames[typed] : undefined;
  const candidates = [...known];
  if (present !== undefined && candidates.includes(present)) return present;
  let nearest: string | undefined;
  let fewestEdits = maxEdits + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - typed.length) >= fewestEdits) continue;
    const edits = countEdits(typed, candidate.toLowerCase());
    if (edits < fewestEdits) [nearest, fewestEdits] = [candidate, edits];
  }
  return nearest;
}

/**
 * The known name that a user most likely means by `name`: the nearest one, or else the only one
 * that is longer or shorter at one end (`vaultAddr` for `vaultAddress`, `awsRegion` for `region`).
 */
export function suggestName(name: string, known: readonly string[]): string | undefined {
  return nearestName(name, known) ?? onlyExtension(name.toLowerCase(), known);
}

/** The remedy for a name that is not among the known ones. */
export function unknownNameHint(name: string, known: readonly string[]): string {
  const suggestion = suggestName(name, known);
  return suggestion === undefined
    ? 'check the spelling, or remove it'
    : `did you mean ${suggestion}?`;
}

function onlyExtension(typed: string, candidates: readonly string[]): string | undefined {
  const found = candidates.filter((candidate) => {
    const known = candidate.toLowerCase();
    const [part, whole] = known.length < typed.length ? [known, typed] : [typed, known];
    return part.length >= minPartLength && (whole.startsWith(part) || whole.endsWith(part));
  });
  return found.length === 1 ? found[0] : undefined;
}

/** Optimal string alignment distance, computed row by row. */
function countEdits(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const changed = from[row - 1] === to[column - 1] ? 0 : 1;
      let edits = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + changed,
      );
      const swapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      if (row > 1 && column > 1 && swapped)
        edits = Math.min(edits, (beforeLast[column - 2] ?? 0) + 1);
      current.push(edits);
    }
    [beforeLast, last] = [last, current];
  }
  return last[to.length] ?? 0;
}
