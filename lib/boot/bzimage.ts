import { ConfigError } from '../errors.ts';
import { readU64 } from './bytes.ts';
import { type ImageSource, readHead } from './image-source.ts';
import {
  BOOT_FLAG,
  HEADER_MAGIC,
  LOADED_HIGH,
  SETUP,
  SETUP_HEADER_END_MAX,
  SETUP_HEADER_START,
  VERSION_CMDLINE_SIZE,
  VERSION_INIT_SIZE,
  VERSION_PAYLOAD,
  VERSION_XLOADFLAGS,
  XLF_CAN_BE_LOADED_ABOVE_4G,
  XLF_KERNEL_64,
} from './setup-header.ts';

/** The bytes that `isBzImage` needs, and that hold every field that we read. */
export const BZIMAGE_HEAD_SIZE = SETUP_HEADER_END_MAX;

const SECTOR_SIZE = 512;
/** What `setup_sects` 0 stands for. */
const SETUP_SECTS_DEFAULT = 4;
/** The largest command line of a kernel that has a larger one than x86's 2048: nothing builds one beyond 1 MiB. */
const CMDLINE_SIZE_MAX = 1 << 20;

/** What the setup header of a bzImage says, checked against the file. Bytes, unless said otherwise. */
export interface BzImage {
  /** The header as it is in the file: from 0x1f1 to where it says that it ends. */
  readonly setupHeader: Uint8Array;
  /** Boot protocol: 0x020f is 2.15. */
  readonly version: number;
  /** The protected-mode kernel's place in the file. */
  readonly kernelOffset: number;
  readonly kernelSize: number;
  /** Whether it has the 64-bit entry point at 0x200; `undefined` where the protocol is too old to say. */
  readonly has64BitEntry: boolean | undefined;
  /** Whether it takes an initrd above 4 GiB. */
  readonly canBeLoadedAbove4G: boolean;
  /** Where it wants to be, and the memory that it needs from there. */
  readonly preferredAddress: number;
  readonly initSize: number;
  /** The compressed kernel's place in the file; size 0 where the protocol is too old to say. */
  readonly payloadOffset: number;
  readonly payloadSize: number;
  /** The longest command line, without its final zero. */
  readonly cmdlineSize: number;
  /** The highest address that the initrd's last byte may have. */
  readonly initrdAddressMax: number;
}

/** Whether `head` begins as a kernel with a setup header: a bzImage, or a zImage. */
export function isBzImage(head: Uint8Array): boolean {
  if (head.length < SETUP.version) return false;
  const view = new DataView(head.buffer, head.byteOffset);
  return view.getUint16(SETUP.boot_flag, true) === BOOT_FLAG && view.getUint32(SETUP.header, true) === HEADER_MAGIC;
}

/** `2.15` for 0x020f. */
export function protocolText(version: number): string {
  return `${version >> 8}.${version & 0xff}`;
}

/**
 * Reads and checks the setup header of a bzImage. Reads nothing else.
 * @throws ConfigError
 */
export function parseBzImage(source: ImageSource): BzImage {
  const where = source.name;
  const head = readHead(source, BZIMAGE_HEAD_SIZE);
  const view = new DataView(head.buffer);
  const truncated = (what: string) =>
    new ConfigError(`the bzImage is cut off: ${what}`, { where, hint: 'copy or download it again' });
  if (head.length < BZIMAGE_HEAD_SIZE) throw truncated('its setup header is not all there');
  const version = view.getUint16(SETUP.version, true);
  if (version < VERSION_CMDLINE_SIZE) {
    throw new ConfigError(`the bzImage has boot protocol ${protocolText(version)}, and 2.06 is the oldest that works`, {
      where,
      hint: 'use Linux 2.6.22 or newer',
    });
  }
  if ((view.getUint8(SETUP.loadflags) & LOADED_HIGH) === 0) {
    throw new ConfigError('the kernel is a zImage, which is loaded below 640 KiB', { where, hint: 'build a bzImage' });
  }
  const headerEnd = SETUP.header + view.getUint8(SETUP.jump_length);
  if (headerEnd <= SETUP.cmdline_size || headerEnd > SETUP_HEADER_END_MAX) {
    throw new ConfigError('the bzImage has a setup header of odd length', { where, hint: 'copy or download it again' });
  }

  const setupSects = view.getUint8(SETUP.setup_sects) || SETUP_SECTS_DEFAULT;
  const kernelOffset = (setupSects + 1) * SECTOR_SIZE;
  if (kernelOffset >= source.size) throw truncated('it ends before its protected-mode kernel');
  const hasPayload = version >= VERSION_PAYLOAD;
  const payloadOffset = kernelOffset + (hasPayload ? view.getUint32(SETUP.payload_offset, true) : 0);
  const payloadSize = hasPayload ? view.getUint32(SETUP.payload_length, true) : 0;
  if (payloadOffset + payloadSize > source.size) {
    throw truncated(`its payload ends at byte ${payloadOffset + payloadSize} of ${source.size}`);
  }
  const hasInitSize = version >= VERSION_INIT_SIZE;
  const kernelSize = source.size - kernelOffset;
  const xloadflags = version >= VERSION_XLOADFLAGS ? view.getUint16(SETUP.xloadflags, true) : undefined;
  return {
    setupHeader: head.slice(SETUP_HEADER_START, headerEnd),
    version,
    kernelOffset,
    kernelSize,
    has64BitEntry: xloadflags === undefined ? undefined : (xloadflags & XLF_KERNEL_64) !== 0,
    canBeLoadedAbove4G: xloadflags !== undefined && (xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G) !== 0,
    preferredAddress: hasInitSize ? readU64(view, SETUP.pref_address) : view.getUint32(SETUP.code32_start, true),
    initSize: hasInitSize ? view.getUint32(SETUP.init_size, true) : 0,
    payloadOffset,
    payloadSize,
    cmdlineSize: Math.min(view.getUint32(SETUP.cmdline_size, true), CMDLINE_SIZE_MAX),
    initrdAddressMax: view.getUint32(SETUP.initrd_addr_max, true),
  };
}
