import { ConfigError } from '../errors.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { GIB, HIGH_RAM_START, KIB } from '../memory/layout.ts';
import { writeAcpiTables, writeMpTable } from './bios-area.ts';
import { writeBootParams } from './boot-params.ts';
import { addParameters, CMDLINE_SIZE, encodeCmdline, parameterValue, virtioMmioParameter } from './cmdline.ts';
import { type InitialCpuState, linux64State, pvhState } from './cpu-state.ts';
import { needsDeviceParameters } from './device-discovery.ts';
import type { MachineDevices } from './devices.ts';
import { e820Map } from './e820.ts';
import { FileSource } from './image-source.ts';
import { type Initrd, loadInitrd, NO_INITRD } from './initrd.ts';
import { type BootProtocol, type LoadedKernel, loadBzImage, loadElfKernel } from './kernel.ts';
import { inspectKernel } from './kernel-file.ts';
import { PAGE_TABLES_ALIGNMENT, PAGE_TABLES_SIZE, writePageTables } from './page-tables.ts';
import { type PlacedRange, Placement } from './placement.ts';
import { startInfoSize, writeStartInfo } from './pvh.ts';
import { BOOT_PARAMS_SIZE } from './setup-header.ts';

/** A guest to load. */
export interface GuestImage {
  /** Fresh memory, 1 MiB at least. */
  readonly memory: GuestMemory;
  readonly kernel: { readonly path: string };
  readonly initrd?: { readonly path: string } | undefined;
  /** The kernel command line; parameters for devices are added where the kernel does not find them by ACPI. */
  readonly bootArgs: string;
  /** Parameters to add where the kernel is Linux, not a bare-metal program. */
  readonly linuxParameters?: readonly string[] | undefined;
  /** 1 to 32. APIC ids are vCPU indices. */
  readonly vcpuCount: number;
  readonly devices: MachineDevices;
  /** Whether there are ACPI tables; `acpi=off` in `bootArgs` turns them off as well. */
  readonly acpi: boolean;
  /** How to enter the kernel; `auto` (the default): Linux by its 64-bit boot protocol, others by PVH where they offer it. */
  readonly protocol?: BootProtocol | 'auto' | undefined;
}

/** A guest that is ready to run. */
export interface LoadedGuest {
  /** The boot vCPU's registers. */
  readonly cpu: InitialCpuState;
  readonly protocol: BootProtocol;
  /** The command line as the kernel sees it. */
  readonly cmdline: string;
  /** Who lies where in usable RAM, by address. */
  readonly placed: readonly PlacedRange[];
}

const PAGE_SIZE = 4 * KIB;
/** What lies below is the BIOS's: interrupt vectors and data area. */
const LOW_TABLES_MIN = PAGE_SIZE;
/** All that the kernel gets pointers to lies where 32 bits and the first page tables reach. */
const TABLES_MAX = 4 * GIB;
/** Structures without an alignment of their own. */
const TABLE_ALIGNMENT = 16;
/** One page, GDT at its beginning, stack at its end: Linux brings its own of both; bare-metal guests may use them. */
const BOOT_PAGE_SIZE = PAGE_SIZE;

/** `initrd_addr_max` of every kernel for x86-64; a vmlinux has no header to say it. */
const INITRD_ADDRESS_MAX = 0x7fff_ffff;

/**
 * Loads kernel and initrd into guest memory, and builds what the kernel is told: command line, memory map, MP table, ACPI tables, and
 * the first page tables. Nothing overlaps.
 *
 * @throws ConfigError where a file is missing, is no kernel, or does not fit; where the command line is too long
 */
export async function loadGuest(image: GuestImage): Promise<LoadedGuest> {
  const { memory, devices, vcpuCount } = image;
  if (memory.size < HIGH_RAM_START) {
    throw new ConfigError('the guest has less than 1 MiB of memory', { hint: 'give it more' });
  }
  const hasAcpi = image.acpi && parameterValue(image.bootArgs, 'acpi') !== 'off';
  const placement = new Placement(memory);
  using source = new FileSource(image.kernel.path, 'kernel');
  const file = inspectKernel(source);
  const bzImage = file.kind === 'bzImage' ? file.bzImage : undefined;

  // What is quick to check comes before what is slow to load.
  const isLinux = file.kind === 'bzImage' || file.elf.isLinux;
  const cmdlineLimit = bzImage?.cmdlineSize ?? CMDLINE_SIZE;
  const ownCmdline = addParameters(image.bootArgs, isLinux ? (image.linuxParameters ?? []) : []);
  encodeCmdline(ownCmdline, cmdlineLimit);
  using initrdSource = image.initrd === undefined ? undefined : new FileSource(image.initrd.path, 'initrd');

  const requested = image.protocol ?? 'auto';
  const kernel =
    file.kind === 'elf'
      ? loadElfKernel(source, file.elf, requested, memory, placement)
      : await loadBzImage(source, file.bzImage, requested, memory, placement);
  const initrd =
    initrdSource === undefined
      ? NO_INITRD
      : loadInitrd(
          initrdSource,
          memory,
          placement,
          bzImage?.initrdAddressMax ?? INITRD_ADDRESS_MAX,
          kernel.protocol === 'linux64' && (bzImage?.canBeLoadedAbove4G ?? true),
        );

  const virtioMmio = devices.virtioMmio.map(({ address, size, gsi }) => virtioMmioParameter(address, size, gsi));
  const namesDevices = virtioMmio.length > 0 && (!hasAcpi || !isLinux || needsDeviceParameters(memory, kernel.rodata));
  const cmdline = namesDevices ? addParameters(ownCmdline, virtioMmio) : ownCmdline;
  const cmdlineBytes = encodeCmdline(cmdline, cmdlineLimit);

  writeMpTable(memory, vcpuCount, devices, placement);
  const rsdpAddress = hasAcpi ? await writeAcpiTables(memory, vcpuCount, devices) : 0;
  const boot: BootData = { kernel, setupHeader: bzImage?.setupHeader, initrd, cmdlineBytes, rsdpAddress };
  const cpu = writeBootData(image, boot, placement);
  return { cpu, protocol: kernel.protocol, cmdline, placed: placement.placed };
}

interface BootData {
  readonly kernel: LoadedKernel;
  readonly setupHeader: Uint8Array | undefined;
  readonly initrd: Initrd;
  readonly cmdlineBytes: Uint8Array;
  readonly rsdpAddress: number;
}

/** Writes command line, memory map and CPU tables, and says where they are in the boot vCPU's registers. */
function writeBootData(image: GuestImage, boot: BootData, placement: Placement): InitialCpuState {
  const { memory } = image;
  const { kernel, setupHeader, initrd, cmdlineBytes, rsdpAddress } = boot;
  const allocate = (what: string, size: number, alignment: number): number => {
    const address = placement.allocateLow(what, size, alignment, LOW_TABLES_MIN, TABLES_MAX);
    if (address >= 0) return address;
    throw new ConfigError(`there is no room for the ${what} in the guest's memory beside the kernel`, {
      where: image.kernel.path,
      hint: 'give the guest more memory',
    });
  };
  const e820 = e820Map(memory, image.devices.pci !== undefined);
  const bootPage = allocate('GDT and stack', BOOT_PAGE_SIZE, PAGE_SIZE);
  const cmdlineAddress = allocate('command line', cmdlineBytes.length, TABLE_ALIGNMENT);
  memory.write(cmdlineAddress, cmdlineBytes);
  const common = { cmdlineAddress, initrdAddress: initrd.address, initrdSize: initrd.size, e820, rsdpAddress };

  if (kernel.protocol === 'pvh') {
    const startInfo = allocate('PVH start info', startInfoSize(e820.length), TABLE_ALIGNMENT);
    writeStartInfo(memory, startInfo, common);
    return pvhState(memory, bootPage, kernel.entry, startInfo);
  }
  const zeroPage = allocate('zero page', BOOT_PARAMS_SIZE, PAGE_SIZE);
  writeBootParams(memory, zeroPage, {
    ...common,
    setupHeader,
    code32Start: kernel.code32Start,
    cmdlineSize: cmdlineBytes.length - 1,
  });
  const pageTables = allocate('page tables', PAGE_TABLES_SIZE, PAGE_TABLES_ALIGNMENT);
  writePageTables(memory, pageTables);
  return linux64State(memory, bootPage, pageTables, kernel.entry, zeroPage, bootPage + BOOT_PAGE_SIZE);
}
