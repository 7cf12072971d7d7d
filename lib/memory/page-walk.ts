import type { GuestMemory } from './guest-memory.ts';

/** Control-register and EFER bits that paging reads. Intel SDM vol. 3, §2.5 and §2.2.1. */
export const CR0_WP = 1 << 16;
export const CR0_PG = 0x8000_0000;
export const CR4_PSE = 1 << 4;
export const CR4_PAE = 1 << 5;
export const CR4_LA57 = 1 << 12;
export const CR4_SMEP = 1 << 20;
export const CR4_SMAP = 1 << 21;
export const CR4_PKE = 1 << 22;
export const EFER_LMA = 1 << 10;
export const EFER_NXE = 1 << 11;

/** The error code of a page fault. Intel SDM vol. 3, §4.7. */
export const PageFaultCode = {
  /** Protection violation (else: a page that is not present). */
  P: 1 << 0,
  W: 1 << 1,
  U: 1 << 2,
  RSVD: 1 << 3,
  /** Instruction fetch. */
  ID: 1 << 4,
  PK: 1 << 5,
} as const;

/**
 * What kind of access is translated: any of these or-ed together (0 is a supervisor-mode data read). `Write`, `User` and
 * `Fetch` are the bits of the page-fault error code.
 */
export const PageAccess = {
  Write: PageFaultCode.W,
  /** A user-mode access: made at CPL 3, and not implicit. */
  User: PageFaultCode.U,
  Fetch: PageFaultCode.ID,
  /** An explicit supervisor-mode access with `RFLAGS.AC` = 1, which `CR4.SMAP` lets touch user pages. */
  AccessUserPages: 1 << 8,
} as const;

/** The registers that decide how an address is translated. All of them fit a number exactly. */
export interface PagingState {
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  /** MAXPHYADDR: `CPUID.80000008H:EAX[7:0]` as the guest has it. Higher bits of an entry are reserved. */
  readonly physicalAddressBits: number;
  /** PKRU; read only where `CR4.PKE` = 1 and the page is a user page. */
  readonly pkru: number;
}

const ENTRY_P = 1 << 0;
const ENTRY_RW = 1 << 1;
const ENTRY_US = 1 << 2;
const ENTRY_A = 1 << 5;
const ENTRY_D = 1 << 6;
const ENTRY_PS = 1 << 7;
/** Bit 63, in an entry's upper half. */
const ENTRY_XD_HIGH = 0x8000_0000;
/** Bits 62:52, in the upper half: ignored (or a protection key) with 4- and 5-level paging, reserved with PAE paging. */
const ENTRY_HIGH_62_52 = 0x7ff0_0000;
/** The address bits (51:32) of an entry's upper half. */
const ENTRY_ADDRESS_HIGH = 0x000f_ffff;
const MAX_LEVELS = 5;
const TWO_32 = 2 ** 32;
/** How often a walk starts again because another vCPU changed an entry while its accessed bit was being set. */
const MAX_RESTARTS = 16;

/**
 * Walks the guest's page tables as the processor does (Intel SDM vol. 3, chapter 4): no paging, 32-bit, PAE, 4-level and
 * 5-level paging; permissions, reserved bits, and accessed and dirty bits.
 *
 * Results are left in fields, so that a walk allocates nothing. One object serves any number of vCPUs of one guest memory, as
 * long as they are in one thread; the vCPUs themselves may run meanwhile.
 */
export class PageWalk {
  /** After a successful `translate`: the guest-physical address. It need not be RAM. */
  physicalAddress = 0;
  /** After a failed `translate`: the error code of the page fault. */
  errorCode = 0;
  readonly #memory: GuestMemory;
  readonly #words: Int32Array<SharedArrayBuffer>;
  /** The entries that this walk used, from the root: index in `#words` of the lower half, and the lower half as it was read. */
  readonly #usedAt = new Float64Array(MAX_LEVELS);
  readonly #usedLow = new Int32Array(MAX_LEVELS);
  #used = 0;
  #entryLow = 0;
  #entryHigh = 0;

  /** @throws RangeError where guest memory does not begin at a multiple of 8 bytes in its buffer */
  constructor(memory: GuestMemory) {
    if (memory.regions.some((region) => region.offset % 8 !== 0)) throw new RangeError('guest memory is not aligned');
    this.#memory = memory;
    this.#words = new Int32Array(memory.buffer, 0, Math.floor(memory.buffer.byteLength / 4));
  }

  /**
   * Translates a linear address, given as two unsigned 32-bit halves. Nothing here checks that it is canonical: that is the
   * segmentation unit's part, and another exception.
   * @returns whether it succeeded; then `physicalAddress` holds the result, else `errorCode`
   */
  translate(state: PagingState, low: number, high: number, access: number): boolean {
    if ((state.cr0 & CR0_PG) === 0) {
      this.physicalAddress = low;
      return true;
    }
    for (let restart = 0; ; restart++) {
      this.#used = 0;
      const walked =
        (state.cr4 & CR4_PAE) !== 0 ? this.#walk64(state, low, high, access) : this.#walk32(state, low, access);
      if (!walked) return false;
      if (this.#markUsed((access & PageAccess.Write) !== 0) || restart === MAX_RESTARTS) return true;
    }
  }

  /** PAE, 4-level and 5-level paging: entries of 8 bytes. */
  #walk64(state: PagingState, low: number, high: number, access: number): boolean {
    const long = (state.efer & EFER_LMA) !== 0;
    let reservedHigh = reservedAddressBits(state.physicalAddressBits);
    if (!long) reservedHigh |= ENTRY_HIGH_62_52;
    if ((state.efer & EFER_NXE) === 0) reservedHigh |= ENTRY_XD_HIGH;
    let level = 3;
    let table: number;
    if (long) {
      level = (state.cr4 & CR4_LA57) !== 0 ? 5 : 4;
      table = tableAddress(state.cr3);
    } else {
      // §4.4.1: the page-directory-pointer table is 32 bytes, anywhere below 4 GiB. A processor keeps its four entries in
      // registers from the last write of CR3 on; a guest that changes them in memory must write CR3 for it to count.
      table = (state.cr3 & 0xffff_ffe0) >>> 0;
    }
    let rights = ENTRY_RW | ENTRY_US;
    let executeDisable = 0;
    for (; ; level--) {
      if (!this.#readEntry(table + tableIndex(level, low, high) * 8)) return this.#fault(state, access, 0);
      const entryLow = this.#entryLow;
      const entryHigh = this.#entryHigh;
      if ((entryLow & ENTRY_P) === 0) {
        return this.#fault(state, access, 0);
      }
      const leaf = level === 1 || ((entryLow & ENTRY_PS) !== 0 && (level === 2 || (level === 3 && long)));
      let reserved = entryHigh & reservedHigh;
      if (level === 3 && !long) {
        // §4.4.1: no rights and no accessed bit; bit 63 is reserved always.
        reserved |= (entryLow & 0x1e6) | (entryHigh & ENTRY_XD_HIGH);
        this.#used--;
      } else {
        rights &= entryLow;
        executeDisable |= entryHigh;
        if (level >= 4) reserved |= entryLow & ENTRY_PS;
        // Bits between PAT (12) and the address of a 2 MiB or 1 GiB page.
        else if (leaf && level === 2) reserved |= entryLow & 0x001f_e000;
        else if (leaf && level === 3) reserved |= entryLow & 0x3fff_e000;
      }
      if (reserved !== 0) return this.#fault(state, access, PageFaultCode.P | PageFaultCode.RSVD);
      if (leaf) {
        const key = long ? (entryHigh >>> 27) & 0xf : -1;
        const denied = this.#deny(state, access, rights, (executeDisable & ENTRY_XD_HIGH) !== 0, key);
        if (denied !== 0) return this.#fault(state, access, denied);
        const pageMask = level === 1 ? 0xfff : level === 2 ? 0x1f_ffff : 0x3fff_ffff;
        this.physicalAddress =
          (entryHigh & ENTRY_ADDRESS_HIGH) * TWO_32 + (((entryLow & ~pageMask) | (low & pageMask)) >>> 0);
        return true;
      }
      table = (entryHigh & ENTRY_ADDRESS_HIGH) * TWO_32 + ((entryLow & 0xffff_f000) >>> 0);
    }
  }

  /** 32-bit paging: entries of 4 bytes, pages of 4 KiB and (with `CR4.PSE`) 4 MiB. §4.3. */
  #walk32(state: PagingState, low: number, access: number): boolean {
    if (!this.#readEntry32(((state.cr3 & 0xffff_f000) >>> 0) + (low >>> 22) * 4)) return this.#fault(state, access, 0);
    const directory = this.#entryLow;
    if ((directory & ENTRY_P) === 0) return this.#fault(state, access, 0);
    if ((state.cr4 & CR4_PSE) !== 0 && (directory & ENTRY_PS) !== 0) {
      if ((directory & (1 << 21)) !== 0) return this.#fault(state, access, PageFaultCode.P | PageFaultCode.RSVD);
      const denied = this.#deny(state, access, directory, false, -1);
      if (denied !== 0) return this.#fault(state, access, denied);
      // PSE-36: bits 20:13 of the entry are bits 39:32 of the address.
      this.physicalAddress =
        ((directory >>> 13) & 0xff) * TWO_32 + (((directory & 0xffc0_0000) | (low & 0x3f_ffff)) >>> 0);
      return true;
    }
    if (!this.#readEntry32(((directory & 0xffff_f000) >>> 0) + ((low >>> 12) & 0x3ff) * 4)) {
      return this.#fault(state, access, 0);
    }
    const entry = this.#entryLow;
    if ((entry & ENTRY_P) === 0) return this.#fault(state, access, 0);
    const denied = this.#deny(state, access, directory & entry, false, -1);
    if (denied !== 0) return this.#fault(state, access, denied);
    this.physicalAddress = ((entry & 0xffff_f000) | (low & 0xfff)) >>> 0;
    return true;
  }

  /** Whether the access rights forbid this access (§4.6): 0, or the page-fault bits that say so. */
  #deny(state: PagingState, access: number, rights: number, executeDisable: boolean, key: number): number {
    const write = (access & PageAccess.Write) !== 0;
    const userPage = (rights & ENTRY_US) !== 0;
    const fetch = (access & PageAccess.Fetch) !== 0;
    if (fetch && executeDisable) return PageFaultCode.P;
    if ((access & PageAccess.User) !== 0) {
      if (!userPage || (write && (rights & ENTRY_RW) === 0)) return PageFaultCode.P;
    } else {
      if (userPage) {
        if (fetch && (state.cr4 & CR4_SMEP) !== 0) return PageFaultCode.P;
        if (!fetch && (state.cr4 & CR4_SMAP) !== 0 && (access & PageAccess.AccessUserPages) === 0)
          return PageFaultCode.P;
      }
      if (write && (rights & ENTRY_RW) === 0 && (state.cr0 & CR0_WP) !== 0) return PageFaultCode.P;
    }
    if (userPage && !fetch && key >= 0 && (state.cr4 & CR4_PKE) !== 0) {
      // §4.6.2: access-disable, and write-disable (which a supervisor without CR0.WP need not heed).
      const disabled = (state.pkru >>> (key * 2)) & 3;
      const heeds = (access & PageAccess.User) !== 0 || (state.cr0 & CR0_WP) !== 0;
      if ((disabled & 1) !== 0 || (write && heeds && (disabled & 2) !== 0)) return PageFaultCode.P | PageFaultCode.PK;
    }
    return 0;
  }

  #fault(state: PagingState, access: number, bits: number): false {
    let code = bits | (access & (PageFaultCode.W | PageFaultCode.U));
    if ((access & PageAccess.Fetch) !== 0) {
      // §4.7: told apart from a read only where something can forbid fetches alone.
      const nx = (state.efer & EFER_NXE) !== 0 && (state.cr4 & CR4_PAE) !== 0;
      if (nx || (state.cr4 & CR4_SMEP) !== 0) code |= PageFaultCode.ID;
    }
    this.errorCode = code;
    return false;
  }

  /** Reads an 8-byte entry, untorn. False where it is not RAM, which KVM (and so mvm) takes for a page that is not present. */
  #readEntry(address: number): boolean {
    const offset = this.#memory.tryOffsetOf(address, 8);
    if (offset < 0) return false;
    const at = offset / 4;
    do {
      this.#entryHigh = Atomics.load(this.#words, at + 1);
      this.#entryLow = Atomics.load(this.#words, at);
    } while (this.#entryHigh !== Atomics.load(this.#words, at + 1));
    this.#note(at);
    return true;
  }

  #readEntry32(address: number): boolean {
    const offset = this.#memory.tryOffsetOf(address, 4);
    if (offset < 0) return false;
    const at = offset / 4;
    this.#entryLow = Atomics.load(this.#words, at);
    this.#note(at);
    return true;
  }

  #note(at: number): void {
    this.#usedAt[this.#used] = at;
    this.#usedLow[this.#used] = this.#entryLow;
    this.#used++;
  }

  /**
   * Sets the accessed bits of the entries used, and the last one's dirty bit for a write (§4.8).
   * @returns false where an entry has changed since it was read: the walk must start again
   */
  #markUsed(write: boolean): boolean {
    for (let i = 0; i < this.#used; i++) {
      const low = this.#usedLow[i]!;
      const wanted = low | ENTRY_A | (write && i === this.#used - 1 ? ENTRY_D : 0);
      if (wanted !== low && Atomics.compareExchange(this.#words, this.#usedAt[i]!, low, wanted) !== low) return false;
    }
    return true;
  }
}

/** The bits of an entry's upper half between MAXPHYADDR and bit 51. */
function reservedAddressBits(physicalAddressBits: number): number {
  if (physicalAddressBits >= 52) return 0;
  return ENTRY_ADDRESS_HIGH & ~(2 ** Math.max(0, physicalAddressBits - 32) - 1);
}

/** Where CR3 says that the root table is: bits 51:12. */
function tableAddress(cr3: number): number {
  return (Math.floor(cr3 / TWO_32) & ENTRY_ADDRESS_HIGH) * TWO_32 + ((cr3 & 0xffff_f000) >>> 0);
}

/** The index into the table of `level` (1: page table … 5: PML5). */
function tableIndex(level: number, low: number, high: number): number {
  switch (level) {
    case 1:
      return (low >>> 12) & 0x1ff;
    case 2:
      return (low >>> 21) & 0x1ff;
    case 3:
      return ((high & 0x7f) << 2) | (low >>> 30);
    case 4:
      return (high >>> 7) & 0x1ff;
    default:
      return (high >>> 16) & 0x1ff;
  }
}
