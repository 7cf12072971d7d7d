# Makes the system calls that are queued in a block, one after the other: many for the price of one foreign call.
# Called by pthread_once(3), the cheapest libc function that calls back: no arguments, so the block's address lies behind
# the code, where lib/native/code.ts writes it before the page becomes executable.
#
# Block: u32 count, padding, u64 out: how long all of them took (cycles of the time-stamp counter), padding to 64 bytes, then `count`
#        entries of 8 quadwords: number, six arguments, result (or -errno).

        .intel_syntax noprefix
        .text
        push    rbx
        push    r12
        mov     rbx, [rip + block]
        mov     r12d, [rbx]
        rdtsc
        mov     [rbx + 8], eax
        mov     [rbx + 12], edx
next:
        sub     r12d, 1
        jc      done
        add     rbx, 64
        mov     rax, [rbx]
        mov     rdi, [rbx + 8]
        mov     rsi, [rbx + 16]
        mov     rdx, [rbx + 24]
        mov     r10, [rbx + 32]
        mov     r8, [rbx + 40]
        mov     r9, [rbx + 48]
        syscall
        mov     [rbx + 56], rax
        jmp     next
done:
        mov     rbx, [rip + block]
        rdtsc
        shl     rdx, 32
        or      rax, rdx
        sub     rax, [rbx + 8]
        mov     [rbx + 8], rax
        pop     r12
        pop     rbx
        ret
        .balign 8, 0xcc
block:  .quad   0
