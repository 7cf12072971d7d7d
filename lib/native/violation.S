# The handler of SIGSYS: a seccomp filter stopped a system call of this thread (seccomp(2), SECCOMP_RET_TRAP), and it was not made.
# rsi: siginfo_t *; si_errno is what the filter says of the thread: lib/seccomp/profile.ts, threadNumber.
#
# The threads of JavaScript and of Node's helpers write one line to standard error and end the process. A vCPU's thread may make no call
# that could: it leaves the call's number in its control block, wakes the loop, which ends the process, and waits for that.
#
# Block: the offsets are those of lib/confine/violation.ts.

        .intel_syntax noprefix
        .set SI_ERRNO, 4
        .set SI_CODE, 8
        .set SI_SYSCALL, 24
        .set SYS_SECCOMP, 1
        .set ENOSYS, 38

        .set NAMES, 0           # u64, address of the names of system calls: 32 bytes each, the first of them the length
        .set NAME_COUNT, 8      # u32
        .set TERMINAL_FD, 12    # i32, -1: there is none
        .set TERMIOS, 16        # u64, address of the terminal's settings as they were found; c_cflag is 0 before
        .set VCPUS, 24          # u64, address of pairs of pthread_t and control block
        .set VCPU_COUNT, 32     # u32
        .set REPORTING, 36      # u32, 1: a thread is writing its line already
        .set LINE, 40           # u64, address of a buffer for it
        .set TEXTS, 48          # by thread, from the second on: u64 address and u64 length of what comes before and behind the call

        .set CONTROL_STATE, 0
        .set CONTROL_RESULT, 4
        .set CONTROL_SLEEPING, 16
        .set CONTROL_WAKE_FD, 24
        .set CONTROL_STOPPED_CALL, 44
        .set CONTROL_ONE, 48

        .set C_CFLAG, 8
        .set THREAD_VCPU, 1
        .set THREAD_RUNTIME, 3
        .set EXIT_BAD_SYSCALL, 148
        .set STDERR, 2
        .set TCSETS, 0x5402
        .set SYS_write, 1
        .set SYS_ioctl, 16
        .set SYS_exit_group, 231

        .text
        cmp     dword ptr [rsi + SI_CODE], SYS_SECCOMP
        je      stopped
        ret                                     # somebody's kill(2)
stopped:
        # From here on nothing is to be restored: it does not return.
        mov     rbx, [rip + block]
        mov     r12d, [rsi + SI_SYSCALL]
        mov     r13d, [rsi + SI_ERRNO]
        cmp     r13d, THREAD_VCPU
        je      vcpu

        mov     eax, 1
        xchg    [rbx + REPORTING], eax
        test    eax, eax
        jnz     wait                            # another thread's line is on its way
        sub     r13d, THREAD_VCPU + 1
        cmp     r13d, THREAD_RUNTIME - THREAD_VCPU - 1
        ja      end
        shl     r13d, 5
        lea     r13, [rbx + r13 + TEXTS]
        mov     rdi, [rbx + LINE]
        mov     rsi, [r13]
        mov     rcx, [r13 + 8]
        rep movsb
        cmp     r12d, [rbx + NAME_COUNT]
        jae     number
        mov     eax, r12d
        shl     rax, 5
        add     rax, [rbx + NAMES]
        movzx   ecx, byte ptr [rax]
        lea     rsi, [rax + 1]
        rep movsb
number:
        mov     word ptr [rdi], 0x2820          # " ("
        add     rdi, 2
        mov     eax, r12d
        mov     ecx, 10
        xor     r8d, r8d
digit:
        xor     edx, edx
        div     ecx
        push    rdx
        inc     r8d
        test    eax, eax
        jnz     digit
put:
        pop     rdx
        add     dl, '0'
        mov     [rdi], dl
        inc     rdi
        dec     r8d
        jnz     put
        mov     byte ptr [rdi], ')'
        inc     rdi
        mov     rsi, [r13 + 16]
        mov     rcx, [r13 + 24]
        rep movsb
        mov     r12, rdi

        cmp     dword ptr [rbx + TERMINAL_FD], 0
        jl      write
        mov     rdx, [rbx + TERMIOS]
        cmp     dword ptr [rdx + C_CFLAG], 0
        je      write
        mov     edi, [rbx + TERMINAL_FD]
        mov     esi, TCSETS
        mov     eax, SYS_ioctl
        syscall
write:
        mov     edi, STDERR
        mov     rsi, [rbx + LINE]
        mov     rdx, r12
        sub     rdx, rsi
        mov     eax, SYS_write
        syscall
end:
        mov     edi, EXIT_BAD_SYSCALL
        mov     eax, SYS_exit_group
        syscall
        ud2

vcpu:
        mov     rax, fs:[0x10]                  # pthread_self()
        mov     rcx, [rbx + VCPUS]
        mov     edx, [rbx + VCPU_COUNT]
find:
        sub     edx, 1
        jc      nobody
        cmp     [rcx], rax
        je      found
        add     rcx, 16
        jmp     find
found:
        mov     rbx, [rcx + 8]
        inc     r12d
        mov     [rbx + CONTROL_STOPPED_CALL], r12d
        mov     dword ptr [rbx + CONTROL_RESULT], -ENOSYS
        mov     eax, 1
        xchg    [rbx + CONTROL_STATE], eax
        mov     rdx, [rbx + CONTROL_SLEEPING]
        mov     dword ptr [rdx], 0
        mov     edi, [rbx + CONTROL_WAKE_FD]
        lea     rsi, [rbx + CONTROL_ONE]
        mov     edx, 8
        mov     eax, SYS_write
        syscall
wait:
        pause
        jmp     wait
nobody:
        ud2
        .balign 8, 0xcc
block:  .quad   0
