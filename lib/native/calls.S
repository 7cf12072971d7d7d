# Makes the system calls that are queued in a block, one after the other: many for the price of one foreign call.
# Called by twalk(3), the cheapest libc function that calls back: no arguments of ours, so the block's address lies behind
# the code, where lib/native/code.ts writes it before the page becomes executable.
#
# Block: u32 count, padding, u64 out: how long all of them took (cycles of the time-stamp counter), padding to 64 bytes, then `count`
#        entries of 8 quadwords: number, six arguments, result (or -errno).
#
# An entry whose number has bit 63 set is a series: one system call for each of many lists of struct iovec, as readv(2) and writev(2) take
# them. Its quadwords: u32 number and u32 flags (bit 31; bit 0: stop behind the first that fails), descriptor, address of the iovecs, address of
# u32s (where each list begins, counted in iovecs, and where the last one ends), count of lists, address of i32s for the results; result:
# how many calls were made.

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
        test    rax, rax
        js      series
        mov     rsi, [rbx + 16]
        mov     rdx, [rbx + 24]
        mov     r10, [rbx + 32]
        mov     r8, [rbx + 40]
        mov     r9, [rbx + 48]
        syscall
        mov     [rbx + 56], rax
        jmp     next
series:
        mov     r8, [rbx + 24]
        mov     r9, [rbx + 40]
        mov     r10, [rbx + 32]         # a system call changes rax, rcx and r11 alone
each:
        sub     r10, 1
        jc      all
        mov     esi, [r8]
        mov     edx, [r8 + 4]
        sub     edx, esi
        shl     rsi, 4
        add     rsi, [rbx + 16]
        mov     eax, [rbx]
        syscall
        mov     [r9], eax
        add     r8, 4
        add     r9, 4
        test    eax, eax
        jns     each
        test    byte ptr [rbx + 4], 1
        jz      each
        jmp     made
all:
        xor     r10d, r10d
made:
        mov     rax, [rbx + 32]
        sub     rax, r10
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
