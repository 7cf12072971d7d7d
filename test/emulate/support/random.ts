/** A generator of reproducible random numbers (xorshift64*, Vigna 2016). */
export class Random {
  #state: bigint;

  constructor(seed: number) {
    this.#state = BigInt(seed) * 0x9e37_79b9_7f4a_7c15n + 1n;
  }

  /** 64 bits, all values alike. */
  uniform64(): bigint {
    let x = this.#state;
    x ^= x >> 12n;
    x ^= BigInt.asUintN(64, x << 25n);
    x ^= x >> 27n;
    this.#state = x;
    return BigInt.asUintN(64, x * 0x2545_f491_4f6c_dd1dn);
  }

  /** An integer from 0 to `limit` - 1. */
  below(limit: number): number {
    return Number(this.uniform64() % BigInt(limit));
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** 64 bits as operands are interesting: edges, few ones, few zeros, small numbers. */
  operand(): bigint {
    switch (this.below(8)) {
      case 0:
        return this.pick([0n, 1n, 0x8000_0000n, 0xffff_ffffn, 1n << 63n, (1n << 64n) - 1n, 0x7fff_ffff_ffff_ffffn]);
      case 1:
        return 1n << BigInt(this.below(64));
      case 2:
        return BigInt.asUintN(64, ~(1n << BigInt(this.below(64))));
      case 3:
        return BigInt(this.below(256));
      case 4:
        return this.uniform64() & this.uniform64() & this.uniform64();
      default:
        return this.uniform64();
    }
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}
