# Sleeps in epoll_wait(2) until an event of ours or libuv's next timer: three calls for the price of one foreign call.
# Called by twalk(3); the block's address lies behind the code (see calls.S).
#
# Block: u64 loop (uv_loop_t *), u64 uv_update_time, u64 uv_backend_timeout, i32 epoll fd, i32 maxevents, u64 events,
#        i32 result (events, or -errno), i32 longest sleep in milliseconds (-1: no limit),
#        i32 out: milliseconds to libuv's next timer (-1: none; 0: it has something to do now).

        .intel_syntax noprefix
        .set LOOP, 0
        .set UPDATE_TIME, 8
        .set BACKEND_TIMEOUT, 16
        .set EPOLL_FD, 24
        .set MAX_EVENTS, 28
        .set EVENTS, 32
        .set RESULT, 40
        .set LIMIT, 44
        .set TIMEOUT, 48
        .set SYS_epoll_wait, 232

        .text
        push    rbx                     # also aligns the stack for the calls
        mov     rbx, [rip + block]
        mov     rdi, [rbx + LOOP]
        call    [rbx + UPDATE_TIME]
        mov     rdi, [rbx + LOOP]
        call    [rbx + BACKEND_TIMEOUT]
        mov     [rbx + TIMEOUT], eax
        mov     r10d, [rbx + LIMIT]
        cmp     eax, r10d               # unsigned: -1 is the longest
        cmovb   r10d, eax
        mov     edi, [rbx + EPOLL_FD]
        mov     rsi, [rbx + EVENTS]
        mov     edx, [rbx + MAX_EVENTS]
        mov     eax, SYS_epoll_wait
        syscall
        mov     [rbx + RESULT], eax
        pop     rbx
        ret
        .balign 8, 0xcc
block:  .quad   0
