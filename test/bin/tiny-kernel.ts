/** Where the code below is loaded and entered: RAM above the BIOS area. */
const LOAD_ADDRESS = 0x10_0000;
const EHDR_SIZE = 64;
const PHDR_SIZE = 56;

const ET_EXEC = 2;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PF_RX = 5;

/** An ELF file of one segment, which a 64-bit kernel's loader enters at its first byte, in long mode. */
export function elfOf(code: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(EHDR_SIZE + PHDR_SIZE + code.length);
  const view = new DataView(bytes.buffer);
  const u16 = (offset: number, value: number) => view.setUint16(offset, value, true);
  const u32 = (offset: number, value: number) => view.setUint32(offset, value, true);
  const u64 = (offset: number, value: number) => view.setBigUint64(offset, BigInt(value), true);
  // e_ident: magic, ELFCLASS64, ELFDATA2LSB, EV_CURRENT.
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  u16(16, ET_EXEC);
  u16(18, EM_X86_64);
  u32(20, 1);
  u64(24, LOAD_ADDRESS);
  u64(32, EHDR_SIZE);
  u16(52, EHDR_SIZE);
  u16(54, PHDR_SIZE);
  u16(56, 1);
  const phdr = EHDR_SIZE;
  u32(phdr, PT_LOAD);
  u32(phdr + 4, PF_RX);
  u64(phdr + 8, EHDR_SIZE + PHDR_SIZE);
  u64(phdr + 16, LOAD_ADDRESS);
  u64(phdr + 24, LOAD_ADDRESS);
  u64(phdr + 32, code.length);
  u64(phdr + 40, code.length);
  u64(phdr + 48, 4096);
  bytes.set(code, EHDR_SIZE + PHDR_SIZE);
  return bytes;
}

const COM1 = 0x3f8;

/** `mov dx, 0x3f8`, and for each character `mov al, c; out dx, al`. */
export function print(text: string): number[] {
  return [0x66, 0xba, COM1 & 0xff, COM1 >> 8, ...[...text].flatMap((c) => [0xb0, c.charCodeAt(0), 0xee])];
}

/** `mov al, 0xfe; out 0x64, al`: the keyboard controller resets the machine. */
export const RESET = [0xb0, 0xfe, 0xe6, 0x64];
/** `pause; jmp` back to it. */
export const SPIN = [0xf3, 0x90, 0xeb, 0xfc];
/** `lidt` of no interrupts (10 bytes of zeros behind the code), then `ud2`: a triple fault. */
export const TRIPLE_FAULT = [0x0f, 0x01, 0x1d, 0x02, 0, 0, 0, 0x0f, 0x0b, ...new Array<number>(10).fill(0)];
