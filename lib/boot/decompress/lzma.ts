import { CorruptDataError } from './errors.ts';

/*
 * LZMA, after the format's description in Igor Pavlov's "LZMA specification" (lzma-specification.7z, public domain). Its names are
 * kept: states, reps, position slots.
 *
 * The decoder is one long function, and each place where a bit is decoded is written out, because the coder's two words (range and
 * code) must stay in machine registers: an 8 MB kernel holds some hundred million such bits.
 */

const STATES = 12;
const POS_STATES_MAX = 16;
/** States below this follow a literal. */
const LITERAL_STATES = 7;

const PROBABILITY_INIT = 1024;
const BIT_MODEL_TOTAL = 2048;
const MOVE_BITS = 5;

/** Of the low and of the middle tree. */
const LEN_LOW_BITS = 3;
const LEN_HIGH_BITS = 8;
const MATCH_MIN_LEN = 2;

/** Offsets in a length coder's probabilities; there are two choices. */
const LEN_CHOICE = 0;
const LEN_LOW = 2;
const LEN_MID = LEN_LOW + (POS_STATES_MAX << LEN_LOW_BITS);
const LEN_HIGH = LEN_MID + (POS_STATES_MAX << LEN_LOW_BITS);
const LEN_CODER_SIZE = LEN_HIGH + (1 << LEN_HIGH_BITS);

const LEN_TO_POS_STATES = 4;
const POS_SLOT_BITS = 6;
const START_POS_MODEL_INDEX = 4;
const END_POS_MODEL_INDEX = 14;
const FULL_DISTANCES = 1 << (END_POS_MODEL_INDEX >> 1);
const ALIGN_BITS = 4;

/** Offsets in the one array of probabilities. */
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POS_STATES_MAX;
/** Three tables: is it rep0, rep1, rep2. */
const IS_REP_G0 = IS_REP + STATES;
const IS_REP0_LONG = IS_REP_G0 + 3 * STATES;
const POS_SLOT = IS_REP0_LONG + STATES * POS_STATES_MAX;
const POS_SPECIAL = POS_SLOT + (LEN_TO_POS_STATES << POS_SLOT_BITS);
const POS_ALIGN = POS_SPECIAL + FULL_DISTANCES;
const MATCH_LEN = POS_ALIGN + (1 << ALIGN_BITS);
const REP_LEN = MATCH_LEN + LEN_CODER_SIZE;
const LITERAL = REP_LEN + LEN_CODER_SIZE;
const LITERAL_CODER_SIZE = 0x300;

/** Largest `lc + lp`: LZMA2's limit is 4, LZMA's is 8 + 4. */
const LITERAL_BITS_MAX = 12;

/** The range coder's first bytes: one zero, four of code. */
const RANGE_CODER_HEADER = 5;

function corrupt(what: string): never {
  throw new CorruptDataError('LZMA', what);
}

/**
 * One LZMA stream, decoded piece by piece straight into the output buffer, which is also its dictionary.
 *
 * The pieces are those of LZMA2 (chunks) or the whole of an `.lzma` file; probabilities, state and reps live on from piece to piece.
 */
export class LzmaDecoder {
  /** The offset in the input after the last byte that `decode` took. */
  inputPosition = 0;
  /** Whether the code word is empty after `decode`, as an encoder leaves it at the end of a piece. */
  isFlushed = false;
  #probabilities = new Uint16Array(0);
  #lc = 0;
  #lpMask = 0;
  #pbMask = 0;
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;

  /**
   * Sets `lc`, `lp` and `pb` from the properties byte, `(pb * 5 + lp) * 9 + lc`, and resets the state.
   * @throws CorruptDataError where the byte is no such number, or `lc + lp` is above `literalBitsMax`
   */
  setProperties(byte: number, literalBitsMax = LITERAL_BITS_MAX): void {
    const lc = byte % 9;
    const rest = Math.floor(byte / 9);
    const lp = rest % 5;
    const pb = Math.floor(rest / 5);
    if (pb > 4 || lc + lp > literalBitsMax) corrupt(`properties 0x${byte.toString(16)}`);
    this.#lc = lc;
    this.#lpMask = (1 << lp) - 1;
    this.#pbMask = (1 << pb) - 1;
    const size = LITERAL + (LITERAL_CODER_SIZE << (lc + lp));
    if (this.#probabilities.length !== size) this.#probabilities = new Uint16Array(size);
    this.resetState();
  }

  /** Forgets everything but the properties and the dictionary. */
  resetState(): void {
    this.#probabilities.fill(PROBABILITY_INIT);
    this.#state = 0;
    this.#rep0 = 0;
    this.#rep1 = 0;
    this.#rep2 = 0;
    this.#rep3 = 0;
  }

  /**
   * Decodes `input[start, end)`, which begins with a range coder's header, until `output` is filled up to `outEnd` or the end marker
   * is met. Counts positions from `dictionaryStart`, before which no match may reach.
   *
   * @returns the offset in `output` after the last byte written
   * @throws CorruptDataError
   */
  decode(
    input: Uint8Array,
    start: number,
    end: number,
    output: Uint8Array,
    outStart: number,
    outEnd: number,
    dictionaryStart: number,
  ): number {
    if (end - start < RANGE_CODER_HEADER) corrupt('it is cut off');
    if (input[start] !== 0) corrupt('its range coder does not begin with zero');
    const probs = this.#probabilities;
    const lc = this.#lc;
    const lpMask = this.#lpMask;
    const pbMask = this.#pbMask;
    let state = this.#state;
    let rep0 = this.#rep0;
    let rep1 = this.#rep1;
    let rep2 = this.#rep2;
    let rep3 = this.#rep3;
    // Both are unsigned 32-bit words kept as int32; comparisons shift them to unsigned.
    let range = -1;
    let code = (input[start + 1]! << 24) | (input[start + 2]! << 16) | (input[start + 3]! << 8) | input[start + 4]!;
    let source = start + RANGE_CODER_HEADER;
    let target = outStart;
    // Of every decision: `p` is the probability, `bound` the part of the range that it gives to 0.
    let p = 0;
    let bound = 0;
    let index = 0;

    while (target < outEnd) {
      if (source > end) corrupt('it is cut off');
      const position = target - dictionaryStart;
      const posState = position & pbMask;

      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | input[source++]!;
      }
      index = IS_MATCH + (state << 4) + posState;
      p = probs[index]!;
      bound = Math.imul(range >>> 11, p);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probs[index] = p + ((BIT_MODEL_TOTAL - p) >> MOVE_BITS);
        const previous = position > 0 ? output[target - 1]! : 0;
        const literal = LITERAL + LITERAL_CODER_SIZE * (((position & lpMask) << lc) + (previous >> (8 - lc)));
        let symbol = 1;
        // After a match, the byte that the match would have gone on with guides the coder until a bit differs from it.
        let offset = state >= LITERAL_STATES ? 0x100 : 0;
        let matchByte = offset === 0 ? 0 : output[target - rep0 - 1]! << 1;
        while (symbol < 0x100) {
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[source++]!;
          }
          const matchBit = matchByte & offset;
          matchByte <<= 1;
          index = literal + offset + matchBit + symbol;
          p = probs[index]!;
          bound = Math.imul(range >>> 11, p);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probs[index] = p + ((BIT_MODEL_TOTAL - p) >> MOVE_BITS);
            symbol <<= 1;
            offset &= ~matchBit;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            probs[index] = p - (p >> MOVE_BITS);
            symbol = (symbol << 1) | 1;
            offset &= matchBit;
          }
        }
        output[target++] = symbol;
        state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        continue;
      }

      range = (range - bound) | 0;
      code = (code - bound) | 0;
      probs[index] = p - (p >> MOVE_BITS);
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | input[source++]!;
      }
      index = IS_REP + state;
      p = probs[index]!;
      bound = Math.imul(range >>> 11, p);
      let lengthCoder = MATCH_LEN;
      const simpleMatch = code >>> 0 < bound >>> 0;
      if (simpleMatch) {
        range = bound;
        probs[index] = p + ((BIT_MODEL_TOTAL - p) >> MOVE_BITS);
        rep3 = rep2;
        rep2 = rep1;
        rep1 = rep0;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probs[index] = p - (p >> MOVE_BITS);
        if (position === 0) corrupt('a match reaches before its dictionary');
        lengthCoder = REP_LEN;
        // Which of the four last distances: a 1 each time it is not this one.
        let rep = 0;
        for (; rep < 3; rep++) {
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[source++]!;
          }
          index = IS_REP_G0 + rep * STATES + state;
          p = probs[index]!;
          bound = Math.imul(range >>> 11, p);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probs[index] = p + ((BIT_MODEL_TOTAL - p) >> MOVE_BITS);
            break;
          }
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          probs[index] = p - (p >> MOVE_BITS);
        }
        if (rep === 0) {
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[source++]!;
          }
          index = IS_REP0_LONG + (state << 4) + posState;
          p = probs[index]!;
          bound = Math.imul(range >>> 11, p);
          if (code >>> 0 < bound >>> 0) {
            // A short rep: one byte.
            range = bound;
            probs[index] = p + ((BIT_MODEL_TOTAL - p) >> MOVE_BITS);
            state = state < LITERAL_STATES ? 9 : 11;
            output[target] = output[target - rep0 - 1]!;
            target++;
            continue;
          }
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          probs[index] = p - (p >> MOVE_BITS);
        } else {
          const distance = rep === 1 ? rep1 : rep === 2 ? rep2 : rep3;
          if (rep === 3) rep3 = rep2;
          if (rep >= 2) rep2 = rep1;
          rep1 = rep0;
          rep0 = distance;
        }
      }

      // The length: up to two choices name one of three trees.
      let choice = 0;
      for (; choice < 2; choice++) {
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | input[source++]!;
        }
        index = lengthCoder + LEN_CHOICE + choice;
        p = probs[index]!;
        bound = Math.imul(range >>> 11, p);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          probs[index] = p + ((BIT_MODEL_TOTAL - p) >> MOVE_BITS);
          break;
        }
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probs[index] = p - (p >> MOVE_BITS);
      }
      // Low and middle trees are of one size: 8 lengths for each position state.
      let tree =
        lengthCoder + (choice === 2 ? LEN_HIGH : LEN_LOW + choice * (LEN_MID - LEN_LOW) + (posState << LEN_LOW_BITS));
      const treeSize = choice === 2 ? 1 << LEN_HIGH_BITS : 1 << LEN_LOW_BITS;
      let length = MATCH_MIN_LEN + (choice << LEN_LOW_BITS);
      let symbol = 1;
      while (symbol < treeSize) {
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | input[source++]!;
        }
        index = tree + symbol;
        p = probs[index]!;
        bound = Math.imul(range >>> 11, p);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          probs[index] = p + ((BIT_MODEL_TOTAL - p) >> MOVE_BITS);
          symbol <<= 1;
        } else {
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          probs[index] = p - (p >> MOVE_BITS);
          symbol = (symbol << 1) | 1;
        }
      }
      length += symbol - treeSize;

      if (!simpleMatch) {
        state = state < LITERAL_STATES ? 8 : 11;
      } else {
        state = state < LITERAL_STATES ? 7 : 10;
        const lenState = length - MATCH_MIN_LEN;
        tree = POS_SLOT + ((lenState < LEN_TO_POS_STATES ? lenState : LEN_TO_POS_STATES - 1) << POS_SLOT_BITS);
        symbol = 1;
        while (symbol < 1 << POS_SLOT_BITS) {
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[source++]!;
          }
          index = tree + symbol;
          p = probs[index]!;
          bound = Math.imul(range >>> 11, p);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probs[index] = p + ((BIT_MODEL_TOTAL - p) >> MOVE_BITS);
            symbol <<= 1;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            probs[index] = p - (p >> MOVE_BITS);
            symbol = (symbol << 1) | 1;
          }
        }
        const slot = symbol - (1 << POS_SLOT_BITS);
        if (slot < START_POS_MODEL_INDEX) {
          rep0 = slot;
        } else {
          let footerBits = (slot >> 1) - 1;
          rep0 = (2 | (slot & 1)) << footerBits;
          if (slot < END_POS_MODEL_INDEX) {
            tree = POS_SPECIAL + rep0 - slot;
          } else {
            // The middle bits are even odds: no model.
            let direct = 0;
            for (let count = footerBits - ALIGN_BITS; count > 0; count--) {
              if (range >>> 24 === 0) {
                range <<= 8;
                code = (code << 8) | input[source++]!;
              }
              range >>>= 1;
              if (code >>> 0 < range) {
                direct <<= 1;
              } else {
                code = (code - range) | 0;
                direct = (direct << 1) | 1;
              }
            }
            rep0 = (rep0 + (direct << ALIGN_BITS)) | 0;
            tree = POS_ALIGN;
            footerBits = ALIGN_BITS;
          }
          // The low bits: a reverse tree.
          symbol = 1;
          for (let bit = 0; bit < footerBits; bit++) {
            if (range >>> 24 === 0) {
              range <<= 8;
              code = (code << 8) | input[source++]!;
            }
            index = tree + symbol;
            p = probs[index]!;
            bound = Math.imul(range >>> 11, p);
            if (code >>> 0 < bound >>> 0) {
              range = bound;
              probs[index] = p + ((BIT_MODEL_TOTAL - p) >> MOVE_BITS);
              symbol <<= 1;
            } else {
              range = (range - bound) | 0;
              code = (code - bound) | 0;
              probs[index] = p - (p >> MOVE_BITS);
              symbol = (symbol << 1) | 1;
              rep0 = (rep0 + (1 << bit)) | 0;
            }
          }
          if (rep0 === -1) break; // the end marker
        }
      }

      if (rep0 >>> 0 >= position) corrupt('a match reaches before its dictionary');
      if (length > outEnd - target) corrupt('it unpacks to more than its announced size');
      let from = target - rep0 - 1;
      for (const stop = target + length; target < stop; ) output[target++] = output[from++]!;
    }

    if (range >>> 24 === 0) {
      code = (code << 8) | input[source++]!;
    }
    if (source > end) corrupt('it is cut off');
    this.isFlushed = code === 0;
    this.#state = state;
    this.#rep0 = rep0;
    this.#rep1 = rep1;
    this.#rep2 = rep2;
    this.#rep3 = rep3;
    this.inputPosition = source;
    return target;
  }
}
