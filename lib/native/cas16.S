# Compare and exchange 16 bytes at once, for the guest instruction `lock cmpxchg16b` (Intel SDM 2A, CMPXCHG8B/CMPXCHG16B):
# JavaScript's Atomics reach 8. Called by twalk(3); the block's address lies behind the code (see calls.S).
#
# Block: u64 address (aligned to 16), u64[2] expected (becomes what was found), u64[2] replacement, u32 success.

        .intel_syntax noprefix
        .text
        push    rbx
        mov     rsi, [rip + block]
        mov     rdi, [rsi]
        mov     rax, [rsi + 8]
        mov     rdx, [rsi + 16]
        mov     rbx, [rsi + 24]
        mov     rcx, [rsi + 32]
        lock cmpxchg16b [rdi]
        mov     [rsi + 8], rax
        mov     [rsi + 16], rdx
        setz    al
        movzx   eax, al
        mov     [rsi + 40], eax
        pop     rbx
        ret
        .balign 8, 0xcc
block:  .quad   0
