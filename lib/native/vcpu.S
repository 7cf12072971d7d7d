# A vCPU thread: start_routine of pthread_create(3). It runs no JavaScript. First it makes the calls that confine it; from then on it
# makes no more than five: ioctl(KVM_RUN), futex, write (8 bytes to the loop's eventfd), rt_sigreturn, exit.
#
# rdi = address of its control block; the offsets are those of lib/vcpu/control-block.ts. Its first hand-over says that it
# is ready; `result` is then what JavaScript put there.
#
# The word `state` says who owns the vCPU: 0 the thread (run the guest), 1 JavaScript (an exit is to be handled).
# Each side hands over with a full barrier (xchg here, Atomics.store there) and only then looks whether the other sleeps.

        .intel_syntax noprefix
        .include "calls.inc"
        .set STATE,     0       # u32, futex word
        .set RESULT,    4       # i32, what KVM_RUN returned: 0 or -errno
        .set VCPU_FD,   8       # i32
        .set SPINS,    12       # u32, looks at `state` before the thread parks
        .set SLEEPING, 16       # u64, address of the loop's `sleeping` word
        .set WAKE_FD,  24       # i32, the loop's eventfd
        .set PARKED,   28       # u32, 1 while the thread is (about to be) in futex
        .set CALLS,    32       # u64, address of a block of system calls to begin with (see calls.S), or 0
        .set STOP,     40       # u32, 1: leave instead of running the guest
        .set ONE,      48       # u64, 1: what is added to the eventfd
        .set THREAD_ID, 56      # i32, of gettid(2)

        .set SYS_write, 1
        .set SYS_ioctl, 16
        .set SYS_exit, 60
        .set SYS_gettid, 186
        .set SYS_futex, 202
        .set KVM_RUN, 0xae80
        .set FUTEX_WAIT_PRIVATE, 128

        .text
        mov     r13, rdi
        mov     eax, SYS_gettid
        syscall
        mov     [r13 + THREAD_ID], eax
        mov     rbx, [r13 + CALLS]
        test    rbx, rbx
        jz      ready
        MAKE_CALLS
ready:
        mov     rbx, r13
hand_over:
        mov     eax, 1
        xchg    [rbx + STATE], eax
        mov     rdx, [rbx + SLEEPING]
        cmp     dword ptr [rdx], 0
        je      spin_long
        xor     eax, eax
        xchg    [rdx], eax              # the first of several threads that see it asleep wakes it
        test    eax, eax
        jz      spin_long
        mov     edi, [rbx + WAKE_FD]
        lea     rsi, [rbx + ONE]
        mov     edx, 8
        mov     eax, SYS_write
        syscall
        xor     ecx, ecx                # waking takes longer than the spin, and it may want this very CPU: look once and park
        jmp     spin
spin_long:
        mov     ecx, [rbx + SPINS]
spin:
        cmp     dword ptr [rbx + STATE], 0
        je      run
        pause
        sub     ecx, 1
        ja      spin
        mov     eax, 1
        xchg    [rbx + PARKED], eax
        cmp     dword ptr [rbx + STATE], 0
        je      unpark
        mov     rdi, rbx                # &state is the block's first word
        mov     esi, FUTEX_WAIT_PRIVATE
        mov     edx, 1
        xor     r10d, r10d
        mov     eax, SYS_futex
        syscall
unpark:
        mov     dword ptr [rbx + PARKED], 0
        xor     ecx, ecx                # woken by a signal, it looks once and parks again
        jmp     spin
run:
        cmp     dword ptr [rbx + STOP], 0
        jne     leave
        mov     edi, [rbx + VCPU_FD]
        mov     esi, KVM_RUN
        xor     edx, edx
        mov     eax, SYS_ioctl
        syscall
        mov     [rbx + RESULT], eax
        jmp     hand_over
leave:
        # Not `ret`: glibc's thread epilogue makes system calls that the filter forbids. The kernel clears the thread
        # id (CLONE_CHILD_CLEARTID), which is all that pthread_join waits for.
        xor     edi, edi
        mov     eax, SYS_exit
        syscall
        ud2
