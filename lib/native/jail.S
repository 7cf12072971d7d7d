# Makes a process that shares our memory and makes system calls from a list, and which may make a second one that does so too: how
# `mvm run --jail` enters namespaces, which a process of several threads cannot, and starts mvm again inside of them.
# Called by twalk(3); the block's address lies behind the code (see calls.S).
#
# Block: u64 flags of clone(2), u64 top of the new process's stack, u64 address of its list, i64 result (process id, or -errno),
#        u64 the signal mask that is to be restored, u64 the mask of all signals.
# List:  entries of 10 quadwords: number (negative: end), six arguments, result (or -errno); u64 address at which the result is stored as
#        well, or 0; flags. An entry that fails ends the process with status 1, unless its flags say otherwise.
#
# No code here uses the stack once there are two of us, and no signal handler runs in the new process: all signals stay blocked.

        .intel_syntax noprefix
        .set FLAGS,  0
        .set STACK,  8
        .set LIST,  16
        .set PID,   24
        .set MASK,  32
        .set ALL,   40

        .set RESULT, 56
        .set STORE,  64
        .set ENTRY_FLAGS, 72
        .set ENTRY_SIZE, 80
        .set MAY_FAIL, 1        # go on after an error
        .set FORKS,    2        # a clone(2): the child goes on with the list at STORE
        .set NOT_ZERO, 4        # 0 is an error too: the end of a stream

        .set SYS_rt_sigprocmask, 14
        .set SYS_clone, 56
        .set SYS_exit_group, 231
        .set SIG_SETMASK, 2
        .set MAX_ERRNO, 4095

        .text
        push    rbx
        mov     rbx, [rip + block]
        mov     edi, SIG_SETMASK
        lea     rsi, [rbx + ALL]
        lea     rdx, [rbx + MASK]
        mov     r10d, 8
        mov     eax, SYS_rt_sigprocmask
        syscall
        mov     rdi, [rbx + FLAGS]
        mov     rsi, [rbx + STACK]
        xor     edx, edx
        xor     r10d, r10d
        xor     r8d, r8d
        mov     eax, SYS_clone
        syscall
        test    rax, rax
        jz      child
        mov     [rbx + PID], rax
        mov     edi, SIG_SETMASK
        lea     rsi, [rbx + MASK]
        xor     edx, edx
        mov     r10d, 8
        mov     eax, SYS_rt_sigprocmask
        syscall
        pop     rbx
        ret
child:
        mov     rbx, [rbx + LIST]
next:
        mov     rax, [rbx]
        xor     r12d, r12d
        test    rax, rax
        js      leave
        mov     rdi, [rbx + 8]
        mov     rsi, [rbx + 16]
        mov     rdx, [rbx + 24]
        mov     r10, [rbx + 32]
        mov     r8, [rbx + 40]
        mov     r9, [rbx + 48]
        syscall
        mov     ecx, [rbx + ENTRY_FLAGS]
        test    ecx, FORKS
        jz      check
        test    rax, rax
        jnz     check
        mov     rbx, [rbx + STORE]
        jmp     next
check:
        mov     [rbx + RESULT], rax
        cmp     rax, -MAX_ERRNO
        jae     failed
        test    rax, rax
        jnz     store
        test    ecx, NOT_ZERO
        jnz     failed
store:
        test    ecx, FORKS
        jnz     done
        mov     rdx, [rbx + STORE]
        test    rdx, rdx
        jz      done
        mov     [rdx], rax
done:
        add     rbx, ENTRY_SIZE
        jmp     next
failed:
        test    ecx, MAY_FAIL
        jnz     done
        mov     r12d, 1
leave:
        mov     edi, r12d
        mov     eax, SYS_exit_group
        syscall
        ud2
        .balign 8, 0xcc
block:  .quad   0
