# The handler of a signal that has a thread of Node's make the system calls of a block (see calls.S): those that confine it, which no
# other thread can make for it. One thread at a time.
#
# rdx: ucontext_t *.
#
# Block: as that of calls.S, and at 4: u32, becomes 1 when all calls have been made; at 8: u64, the signals that the thread blocks from then
# on (rt_sigprocmask(2) would not outlast the handler), or 0 for those that it does.

        .intel_syntax noprefix
        .include "calls.inc"
        .set DONE, 4
        .set SIGNALS, 8
        .set UC_SIGMASK, 296
        .set SYS_rt_sigreturn, 15
        .text
        push    rbx
        push    r12
        mov     rbx, [rip + block]
        mov     rax, [rbx + SIGNALS]
        test    rax, rax
        jz      make
        mov     [rdx + UC_SIGMASK], rax
make:
        MAKE_CALLS
        mov     rbx, [rip + block]
        mov     eax, 1
        xchg    [rbx + DONE], eax
        pop     r12
        pop     rbx
        add     rsp, 8                          # instead of `ret`: there is no restorer
        mov     eax, SYS_rt_sigreturn
        syscall
        ud2
        .balign 8, 0xcc
block:  .quad   0
