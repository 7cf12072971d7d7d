/** RFC 1950, section 8.2. */
export function adler32(data: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (const byte of data) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return b * 0x1_0000 + a;
}

/** Lines of 64 bytes as the guest's init writes them (`print`, `write`). */
export function printedLines(kib: number): Buffer {
  const text = Array.from({ length: (kib * 1024) / 64 }, (_, line) => {
    return `${String(line).padStart(8, '0')} ${String.fromCharCode(97 + (line % 26)).repeat(54)}\n`;
  });
  return Buffer.from(text.join(''));
}

/** What the guest's init says of data that it has read or taken. */
export function sumOf(name: string, data: Uint8Array): string {
  return `${name}: ${data.length} bytes, Adler-32 ${adler32(data)}`;
}
