import { completeInstruction } from '../emulate/complete.ts';
import { RegisterFile } from '../emulate/registers.ts';
import { Dirty, type Exception } from '../emulate/types.ts';
import { GuestError } from '../errors.ts';
import { KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES } from '../kvm/exits.ts';
import { KVM_SYNC_X86_REGS, kvm_run } from '../kvm/structs.ts';
import type { KvmVcpu } from '../kvm/vcpu.ts';
import type { NativeArena } from '../loop/arena.ts';
import type { HostMemory } from '../memory/host-memory.ts';
import { type CpuFacts, KvmCpuContext } from './cpu-context.ts';

const SUBERROR = kvm_run.offset['emulation_failure.suberror'];
const NDATA = kvm_run.offset['emulation_failure.ndata'];
const FLAGS = kvm_run.offset['emulation_failure.flags'];
const INSN_SIZE = kvm_run.offset['emulation_failure.insn_size'];
const INSN_BYTES = kvm_run.offset['emulation_failure.insn_bytes'];
const MAX_INSN_BYTES = 15;
const REGS = kvm_run.offset['s.regs.regs'];
const VALID_REGS = kvm_run.offset.kvm_valid_regs;
const DIRTY_REGS = kvm_run.offset.kvm_dirty_regs;

/**
 * Completes, for one vCPU, the instructions that KVM gives up emulating (api.rst section 5, KVM_EXIT_INTERNAL_ERROR).
 *
 * The general registers come and go through `kvm_run` (`KVM_CAP_SYNC_REGS`), which costs nothing measurable; all else by ioctl,
 * where an instruction needs it. The interrupt shadow of an `sti` before the instruction is left to last one longer.
 */
export class InstructionCompleter {
  readonly #vcpu: KvmVcpu;
  readonly #cpu: KvmCpuContext;
  completed = 0;

  constructor(vcpu: KvmVcpu, host: HostMemory, arena: NativeArena, facts: CpuFacts) {
    this.#vcpu = vcpu;
    const { run } = vcpu;
    run.setNumber64(VALID_REGS, KVM_SYNC_X86_REGS);
    this.#cpu = new KvmCpuContext(vcpu, new RegisterFile(run.buffer, run.base + REGS), host, arena, facts);
  }

  /**
   * After `KVM_EXIT_INTERNAL_ERROR`: does what KVM did not.
   * @throws GuestError where KVM failed for another reason, or mvm does not know the instruction either
   */
  complete(): void {
    const { run } = this.#vcpu;
    const { view } = run;
    const suberror = view.getUint32(SUBERROR, true);
    if (suberror !== KVM_INTERNAL_ERROR_EMULATION) throw this.#internalError(suberror);
    const cpu = this.#cpu;
    cpu.refresh();
    const known = (view.getUint32(FLAGS, true) & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) !== 0;
    const size = known && view.getUint32(NDATA, true) > 1 ? Math.min(view.getUint8(INSN_SIZE), MAX_INSN_BYTES) : 0;
    const outcome = completeInstruction(run.bytes.subarray(INSN_BYTES, INSN_BYTES + size), cpu);
    if (outcome.kind === 'unknown') throw new GuestError(outcome.message);
    this.completed++;
    if ((outcome.dirty & Dirty.Registers) !== 0) run.setNumber64(DIRTY_REGS, KVM_SYNC_X86_REGS);
    if ((outcome.dirty & Dirty.ExtendedState) !== 0) cpu.writeExtendedState();
    if (outcome.kind === 'exception') this.#raise(outcome);
    else if (outcome.kind === 'interrupt') this.#interrupt(outcome.vector);
    else if (outcome.flushTlb) cpu.flushTranslations();
  }

  /** Queues an exception: KVM delivers it through the guest's IDT on the next entry. */
  #raise({ vector, errorCode, cr2, dr6 }: Exception): void {
    if (cr2 !== undefined) this.#cpu.setCr2(cr2);
    if (dr6 !== 0) {
      const registers = this.#vcpu.getDebugregs();
      this.#vcpu.setDebugregs({ ...registers, dr6: registers.dr6 | BigInt(dr6) });
    }
    const events = this.#vcpu.getVcpuEvents();
    this.#vcpu.setVcpuEvents({
      ...events,
      exception: {
        injected: 1,
        nr: vector,
        has_error_code: Number(errorCode !== undefined),
        pending: 0,
        error_code: errorCode ?? 0,
      },
    });
  }

  #interrupt(vector: number): void {
    const events = this.#vcpu.getVcpuEvents();
    this.#vcpu.setVcpuEvents({ ...events, interrupt: { ...events.interrupt, injected: 1, nr: vector, soft: 1 } });
  }

  #internalError(suberror: number): GuestError {
    const { data, ndata } = kvm_run.get(this.#vcpu.run.view, 'internal');
    const words = data.slice(0, Math.min(ndata, data.length)).map((word) => `0x${word.toString(16)}`);
    const rip = this.#cpu.registers.rip.toString(16);
    return new GuestError(
      `vCPU ${this.#vcpu.id} stopped at 0x${rip}: KVM internal error ${suberror} (${words.join(' ') || 'no data'})`,
    );
  }
}
