import { distance } from 'fastest-levenshtein';

/** A common beginning of this many characters, and of most of the word, makes two names akin: vcpus and vcpu_count. */
const COMMON_START = 4;

/** The candidate that `word` was most likely meant to be: it begins alike, or differs by a slip or two. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const wanted = plain(word);
  const longer = candidates.filter((candidate) => wanted.length >= 3 && plain(candidate).startsWith(wanted));
  if (longer.length === 1) return longer[0];
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const edits = distance(wanted, plain(candidate));
    // Everything would be replaced: that is another word, not a slip.
    if (edits < bestDistance && edits < plain(candidate).length) {
      best = candidate;
      bestDistance = edits;
    }
  }
  if (best !== undefined) return best;
  const akin = candidates.filter((candidate) => {
    const common = commonStart(wanted, plain(candidate));
    return common >= COMMON_START && common > wanted.length / 2;
  });
  return akin.length === 1 ? akin[0] : undefined;
}

/** Case, hyphens and underscores are what people mix up. */
function plain(name: string): string {
  return name.toLowerCase().replace(/[-_\s]/g, '');
}

function commonStart(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}
