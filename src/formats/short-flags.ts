/**
 * Makes two words of `-o=json`, which commander would read as the value `=json`. kubectl and helm
 * take this form. Words behind `--` stay as they are.
 */
export function separateShortFlags(words: readonly string[]): readonly string[] {
  const end = words.indexOf('--');
  return words.flatMap((word, index) => {
    const match = end === -1 || index < end ? /^(-[A-Za-z])=(.+)$/s.exec(word) : null;
    return match === null ? [word] : match.slice(1);
  });
}
