import { distance } from 'fastest-levenshtein';

/** The candidate that differs from `word` by the fewest edits, if they are few enough to be a slip. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const plain = (name: string) => name.toLowerCase().replace(/[-_\s]/g, '');
  const start = plain(word);
  const longer = candidates.filter((candidate) => start.length >= 3 && plain(candidate).startsWith(start));
  if (longer.length === 1) return longer[0];
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const edits = distance(plain(word), plain(candidate));
    // Everything would be replaced: that is another word, not a slip.
    if (edits < bestDistance && edits < plain(candidate).length) {
      best = candidate;
      bestDistance = edits;
    }
  }
  return best;
}
