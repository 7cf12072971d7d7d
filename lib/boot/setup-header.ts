/*
 * `struct setup_header` and `struct boot_params` (Linux: Documentation/arch/x86/boot.rst and zero-page.rst,
 * arch/x86/include/uapi/asm/bootparam.h). The header stands at the same offsets in a bzImage and in the zero page.
 */

/** Offsets in a bzImage, and in the zero page, of the setup header's fields. */
export const SETUP = {
  setup_sects: 0x1f1,
  syssize: 0x1f4,
  boot_flag: 0x1fe,
  /** The second byte of the `jump` instruction: the header ends at 0x202 plus this. */
  jump_length: 0x201,
  header: 0x202,
  version: 0x206,
  type_of_loader: 0x210,
  loadflags: 0x211,
  code32_start: 0x214,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  cmd_line_ptr: 0x228,
  initrd_addr_max: 0x22c,
  kernel_alignment: 0x230,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  payload_offset: 0x248,
  payload_length: 0x24c,
  setup_data: 0x250,
  pref_address: 0x258,
  init_size: 0x260,
} as const;

/** Offsets in the zero page of what is not the setup header. */
export const BOOT_PARAMS = {
  acpi_rsdp_addr: 0x070,
  ext_ramdisk_image: 0x0c0,
  ext_ramdisk_size: 0x0c4,
  ext_cmd_line_ptr: 0x0c8,
  e820_entries: 0x1e8,
  e820_table: 0x2d0,
} as const;

export const BOOT_PARAMS_SIZE = 4096;

/** Where the setup header begins, in both. */
export const SETUP_HEADER_START = SETUP.setup_sects;
/** The header ends before the field that follows it in the zero page (`edd_mbr_sig_buffer`). */
export const SETUP_HEADER_END_MAX = 0x290;

export const BOOT_FLAG = 0xaa55;
/** `HdrS` */
export const HEADER_MAGIC = 0x5372_6448;

/** `loadflags` */
export const LOADED_HIGH = 1 << 0;
export const KASLR_FLAG = 1 << 1;

/** `xloadflags` */
export const XLF_KERNEL_64 = 1 << 0;
export const XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1;

/** `type_of_loader`: a loader without a number of its own. */
export const LOADER_UNDEFINED = 0xff;

/** The 64-bit entry point: this far into the protected-mode kernel. */
export const ENTRY_64_OFFSET = 0x200;

/** Protocol versions (`version`) that brought a field that we use. */
export const VERSION_CMDLINE_SIZE = 0x0206;
export const VERSION_PAYLOAD = 0x0208;
export const VERSION_INIT_SIZE = 0x020a;
export const VERSION_XLOADFLAGS = 0x020c;
