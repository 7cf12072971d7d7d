import test from 'ava';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';
import {
  CR0_PG,
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PKE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  PageAccess,
  PageFaultCode,
  PageWalk,
  type PagingState,
} from '../../lib/memory/page-walk.ts';
import { PageTables, PTE_A, PTE_D, PTE_P, PTE_PS, PTE_RW, PTE_US, PTE_XD } from '../emulate/support/page-tables.ts';

const LINEAR = 0xffff_8123_4567_8000n;
const FRAME = 0x8_0000;
const { P, W, U, RSVD, ID, PK } = PageFaultCode;

type State = { -readonly [Key in keyof PagingState]: PagingState[Key] };

interface Stage {
  readonly memory: GuestMemory;
  readonly tables: PageTables;
  readonly state: State;
  readonly walk: PageWalk;
  /** The result of a translation: an address, or `#PF` with its error code. */
  translate(linear: bigint, access?: number): string;
}

function stage(levels = 4): Stage {
  const memory = GuestMemory.plain(0x10_0000);
  const tables = new PageTables(memory, 0x1000, levels);
  const walk = new PageWalk(memory);
  const state: State = {
    cr0: CR0_PG | CR0_WP | 1,
    cr3: tables.root,
    cr4: CR4_PAE | (levels === 5 ? CR4_LA57 : 0),
    efer: EFER_LMA | EFER_NXE | 0x100,
    physicalAddressBits: 46,
    pkru: 0,
  };
  return { memory, tables, state, walk, translate: (linear, access = 0) => translate(walk, state, linear, access) };
}

function translate(walk: PageWalk, state: PagingState, linear: bigint, access: number): string {
  const ok = walk.translate(state, Number(linear & 0xffff_ffffn), Number(linear >> 32n), access);
  return ok ? `0x${walk.physicalAddress.toString(16)}` : `#PF ${walk.errorCode}`;
}

test('without paging an address is its own', (t) => {
  const { state, translate } = stage();
  state.cr0 = 1;
  t.is(translate(0xffff_fff0n, PageAccess.Write), '0xfffffff0');
});

for (const levels of [4, 5]) {
  test(`${levels}-level paging: pages of 4 KiB, 2 MiB and 1 GiB`, (t) => {
    const { tables, translate } = stage(levels);
    const flags = PTE_P | PTE_RW;
    tables.map(LINEAR, FRAME, flags);
    tables.map(0x0000_7fff_ffff_f000n, FRAME + 0x1000, flags);
    tables.map(0x4020_0000n, 0x1_2340_0000, flags | PTE_PS, 2);
    tables.map(0x8000_0000n, 0x20_4000_0000, flags | PTE_PS, 3);
    t.is(translate(LINEAR), '0x80000');
    t.is(translate(LINEAR + 0xabcn), '0x80abc');
    t.is(translate(0x0000_7fff_ffff_ffffn), '0x81fff');
    t.is(translate(0x4020_0000n + 0x1f_fedcn), '0x1235ffedc');
    t.is(translate(0x8000_0000n + 0x3fff_eeeen), '0x207fffeeee');
    t.is(translate(LINEAR + 0x1000n), '#PF 0');
  });
}

test('5-level paging tells addresses apart that 4-level paging cannot', (t) => {
  const { tables, translate } = stage(5);
  tables.map(1n << 48n, FRAME, PTE_P);
  t.is(translate(1n << 48n), '0x80000');
  t.is(translate(0n), '#PF 0');
});

test('CR3 holds more than the address of the table', (t) => {
  const { tables, state, translate } = stage();
  tables.map(LINEAR, FRAME, PTE_P);
  state.cr3 += 0xfff;
  t.is(translate(LINEAR), '0x80000');
});

test('PAE paging: four directory pointers, without rights of their own', (t) => {
  const { memory, state, translate } = stage();
  state.efer = EFER_NXE;
  state.cr3 = 0x1020;
  const write = (at: number, entry: bigint) => memory.view.setBigUint64(at, entry, true);
  write(0x1020 + 3 * 8, 0x2000n | PTE_P);
  write(0x2000 + 1 * 8, 0x3000n | PTE_P | PTE_RW | PTE_US);
  write(0x2000 + 2 * 8, 0x1_0040_0000n | PTE_P | PTE_PS | PTE_RW);
  write(0x3000 + 2 * 8, BigInt(FRAME) | PTE_P | PTE_RW | PTE_US);
  t.is(translate(0xc020_2123n, PageAccess.Write | PageAccess.User), '0x80123');
  t.is(translate(0xc041_2345n), '0x100412345');
  t.is(translate(0x4020_2123n), '#PF 0');
  t.is(memory.view.getBigUint64(0x1020 + 3 * 8, true), 0x2000n | PTE_P, 'a directory pointer has no accessed bit');
  t.is(memory.view.getBigUint64(0x3000 + 2 * 8, true), BigInt(FRAME) | PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D);
  for (const reserved of [PTE_RW, PTE_US, 1n << 5n, 1n << 8n, 1n << 46n, 1n << 52n, PTE_XD]) {
    write(0x1020 + 3 * 8, 0x2000n | PTE_P | reserved);
    t.is(translate(0xc020_2123n), `#PF ${P | RSVD}`, reserved.toString(16));
  }
  write(0x1020 + 3 * 8, 0x2000n | PTE_P);
  write(0x3000 + 2 * 8, BigInt(FRAME) | PTE_P | (1n << 60n));
  t.is(translate(0xc020_2123n), `#PF ${P | RSVD}`, 'bits that 4-level paging ignores are reserved');
});

test('32-bit paging: pages of 4 KiB and, with PSE, 4 MiB of up to 40 address bits', (t) => {
  const { memory, state, translate } = stage();
  state.efer = 0;
  state.cr4 = CR4_PSE;
  const write = (at: number, entry: number) => memory.view.setUint32(at, entry, true);
  write(0x1000 + 0x301 * 4, 0x2000 | 7);
  write(0x2000 + 0x45 * 4, FRAME | 7);
  write(0x1000 + 0x302 * 4, 0x0340_0087 | (0x12 << 13));
  t.is(translate(0xc044_5678n, PageAccess.Write | PageAccess.User), '0x80678');
  t.is(translate(0xc08a_bcden, PageAccess.Write), '0x12034abcde');
  t.is(memory.view.getUint32(0x1000 + 0x301 * 4, true), 0x2000 | 7 | 0x20);
  t.is(memory.view.getUint32(0x2000 + 0x45 * 4, true), FRAME | 7 | 0x60);
  t.is(memory.view.getUint32(0x1000 + 0x302 * 4, true), (0x0340_0087 | (0x12 << 13) | 0x60) >>> 0);
  t.is(translate(0xc044_6000n, PageAccess.Write), `#PF ${W}`);
  t.is(translate(0n), '#PF 0');
  write(0x1000 + 0x302 * 4, 0x0340_0087 | (1 << 21));
  t.is(translate(0xc080_0000n), `#PF ${P | RSVD}`);
  write(0x2000 + 0x45 * 4, FRAME | 3);
  t.is(translate(0xc044_5678n, PageAccess.User), `#PF ${P | U}`);
  state.cr4 = 0;
  write(0x1000 + 0x301 * 4, 0x2000 | 0x87);
  t.is(translate(0xc044_5678n), '0x80678', 'without PSE, bit 7 of a directory entry means nothing');
});

interface Rule {
  readonly user: boolean;
  readonly writable: boolean;
  readonly noExecute: boolean;
}

/** Intel SDM vol. 3, §4.6.1, read line by line: whether an access is allowed. */
function allowed(page: Rule, access: number, state: PagingState): boolean {
  const mode = (access & PageAccess.User) !== 0 ? 'user' : 'supervisor';
  const kind = (access & PageAccess.Fetch) !== 0 ? 'fetch' : (access & PageAccess.Write) !== 0 ? 'write' : 'read';
  const wp = (state.cr0 & CR0_WP) !== 0;
  const nx = (state.efer & EFER_NXE) !== 0 && page.noExecute;
  const smapLets = (state.cr4 & CR4_SMAP) === 0 || (access & PageAccess.AccessUserPages) !== 0;
  if (mode === 'supervisor') {
    if (kind === 'read') return page.user ? smapLets : true;
    if (kind === 'write') return (page.user ? smapLets : true) && (wp ? page.writable : true);
    return (page.user ? (state.cr4 & CR4_SMEP) === 0 : true) && !nx;
  }
  if (!page.user) return false;
  if (kind === 'read') return true;
  return kind === 'write' ? page.writable : !nx;
}

test('rights: every combination of page, access and mode', (t) => {
  const { tables, state, translate } = stage();
  const accesses = [0, W, ID].flatMap((kind) => [kind, kind | U, kind | PageAccess.AccessUserPages]);
  const bits = (mask: number, all: readonly number[]) =>
    all.reduce((sum, bit, i) => sum | (mask & (1 << i) ? bit : 0), 0);
  let granted = 0;
  let denied = 0;
  for (let rights = 0; rights < 8; rights++) {
    const page = { user: (rights & 1) !== 0, writable: (rights & 2) !== 0, noExecute: (rights & 4) !== 0 };
    for (let config = 0; config < 16; config++) {
      state.cr0 = CR0_PG | bits(config & 1, [CR0_WP]);
      state.cr4 = CR4_PAE | bits((config >> 1) & 3, [CR4_SMEP, CR4_SMAP]);
      state.efer = EFER_LMA | bits(config >> 3, [EFER_NXE]);
      const nxe = (state.efer & EFER_NXE) !== 0;
      // The bit that forbids may be in the last entry, or in one above it.
      for (const level of [1, 3]) {
        const weak =
          PTE_P | (page.user ? PTE_US : 0n) | (page.writable ? PTE_RW : 0n) | (page.noExecute && nxe ? PTE_XD : 0n);
        const strong = PTE_P | PTE_RW | PTE_US;
        for (const i of [4, 3, 2, 1]) {
          const at = tables.entryAddress(LINEAR, i);
          const frame = i === 1 ? BigInt(FRAME) : tables.read(at) & 0xf_f000n;
          tables.write(at, frame | (i === level ? weak : strong));
        }
        for (const access of accesses) {
          const expectsId = (access & ID) !== 0 && (nxe || (state.cr4 & CR4_SMEP) !== 0);
          const code = P | (access & (W | U)) | (expectsId ? ID : 0);
          const ok = allowed(page, access, state);
          if (ok) granted++;
          else denied++;
          t.is(
            translate(LINEAR, access),
            ok ? '0x80000' : `#PF ${code}`,
            JSON.stringify({ page, config, level, access }),
          );
        }
      }
    }
  }
  t.true(granted > 500 && denied > 500);
});

test('an entry that is not present, at each level', (t) => {
  for (const levels of [4, 5]) {
    for (let level = 1; level <= levels; level++) {
      const { tables, translate } = stage(levels);
      tables.map(LINEAR, FRAME, PTE_P | PTE_RW | PTE_US);
      const at = tables.entryAddress(LINEAR, level);
      tables.write(at, tables.read(at) & ~PTE_P);
      t.is(translate(LINEAR), '#PF 0');
      t.is(translate(LINEAR, W | U), `#PF ${W | U}`);
      t.is(translate(LINEAR, ID), `#PF ${ID}`);
    }
  }
});

test('reserved bits, at each level', (t) => {
  const cases: [number, number, bigint][] = [
    [1, 1, 1n << 46n],
    [1, 2, 1n << 51n],
    [1, 3, 1n << 47n],
    [1, 4, 1n << 46n],
    [1, 4, PTE_PS],
    [2, 2, 1n << 13n],
    [2, 2, 1n << 20n],
    [3, 3, 1n << 13n],
    [3, 3, 1n << 29n],
  ];
  for (const [leaf, level, bit] of cases) {
    const { tables, translate } = stage();
    tables.map(0x4000_0000n, 0x4000_0000, PTE_P | (leaf > 1 ? PTE_PS : 0n), leaf);
    t.is(translate(0x4000_0000n), '0x40000000');
    const at = tables.entryAddress(0x4000_0000n, level);
    tables.write(at, tables.read(at) | bit);
    t.is(translate(0x4000_0000n), `#PF ${P | RSVD}`, `${bit.toString(16)} at level ${level}`);
    t.is(translate(0x4000_0000n, U | W), `#PF ${P | RSVD | U | W}`);
  }
});

test('bit 63 is reserved without NXE; address bits are not with 52 of them', (t) => {
  const { tables, state, translate } = stage();
  tables.map(LINEAR, FRAME, PTE_P | PTE_XD);
  t.is(translate(LINEAR), '0x80000');
  state.efer = EFER_LMA;
  t.is(translate(LINEAR), `#PF ${P | RSVD}`);
  state.physicalAddressBits = 52;
  tables.map(LINEAR, 2 ** 51, PTE_P);
  t.is(translate(LINEAR), `0x${(2 ** 51).toString(16)}`);
  state.physicalAddressBits = 36;
  tables.map(LINEAR, 2 ** 36, PTE_P);
  t.is(translate(LINEAR), `#PF ${P | RSVD}`);
});

test('ignored and protection-key bits of an entry are not taken for the address', (t) => {
  const { tables, translate } = stage();
  tables.map(LINEAR, FRAME, PTE_P | (0x7ffn << 52n) | (7n << 9n));
  t.is(translate(LINEAR), '0x80000');
});

test('accessed and dirty bits are set as the access asks, and not where it faults', (t) => {
  const { tables, translate } = stage();
  tables.map(LINEAR, FRAME, PTE_P | PTE_RW);
  const levels = [4, 3, 2, 1].map((level) => tables.entryAddress(LINEAR, level));
  const marks = () => levels.map((at) => Number((tables.read(at) & (PTE_A | PTE_D)) >> 5n));
  translate(LINEAR, U | W);
  t.deepEqual(marks(), [0, 0, 0, 0]);
  translate(LINEAR);
  t.deepEqual(marks(), [1, 1, 1, 1]);
  translate(LINEAR, W);
  t.deepEqual(marks(), [1, 1, 1, 3]);
  tables.map(0x4000_0000n, 0x4000_0000, PTE_P | PTE_RW | PTE_PS, 3);
  translate(0x4000_0000n, W);
  t.is(tables.read(tables.entryAddress(0x4000_0000n, 3)) & (PTE_A | PTE_D), PTE_A | PTE_D);
});

test('an entry that changes while it is being marked makes the walk start again', (t) => {
  const { tables, state, translate, memory } = stage();
  // A table that is its own entry serves at all four levels: marking it once changes what was read for the others.
  memory.view.setBigUint64(state.cr3 + 0x100 * 8, BigInt(state.cr3) | PTE_P | PTE_RW, true);
  const recursive = 0xffff_8040_2010_0000n;
  t.is(translate(recursive, W), `0x${state.cr3.toString(16)}`);
  t.is(tables.read(state.cr3 + 0x100 * 8), BigInt(state.cr3) | PTE_P | PTE_RW | PTE_A | PTE_D);
});

test('protection keys guard data in user pages', (t) => {
  const { tables, state, translate } = stage();
  tables.map(LINEAR, FRAME, PTE_P | PTE_RW | PTE_US | (5n << 59n));
  state.pkru = 1 << 10;
  t.is(translate(LINEAR, U), '0x80000', 'not without CR4.PKE');
  state.cr4 |= CR4_PKE;
  t.is(translate(LINEAR, U), `#PF ${P | U | PK}`);
  t.is(translate(LINEAR), `#PF ${P | PK}`);
  t.is(translate(LINEAR, ID), '0x80000');
  state.pkru = 2 << 10;
  t.is(translate(LINEAR, U), '0x80000');
  t.is(translate(LINEAR, U | W), `#PF ${P | U | W | PK}`);
  t.is(translate(LINEAR, W), `#PF ${P | W | PK}`);
  state.cr0 &= ~CR0_WP;
  t.is(translate(LINEAR, W), '0x80000');
  t.is(translate(LINEAR, U | W), `#PF ${P | U | W | PK}`);
  tables.map(LINEAR, FRAME, PTE_P | PTE_RW | (5n << 59n));
  t.is(translate(LINEAR, W), '0x80000', 'not a supervisor page');
});

test('a table outside RAM is a page that is not present', (t) => {
  const { state, tables, translate } = stage();
  tables.map(LINEAR, FRAME, PTE_P);
  tables.write(tables.entryAddress(LINEAR, 2), 0xd000_0000n | PTE_P);
  t.is(translate(LINEAR, W), `#PF ${W}`);
  state.cr3 = 2 ** 45;
  t.is(translate(LINEAR), '#PF 0');
  state.cr4 = 0;
  state.efer = 0;
  state.cr3 = 0x8000_0000;
  t.is(translate(0n), '#PF 0');
});

test('guest memory that is not aligned in its buffer is refused', (t) => {
  t.throws(() => new PageWalk(new GuestMemory(new SharedArrayBuffer(0x2000), 4, 0x1000)), { instanceOf: RangeError });
});
