# A module of Node-API: one function, bind(address), which makes a function of JavaScript that calls the routine at that address, without
# arguments or result. Such a call takes a twentieth of one through ffi-rs.
#
# The file is a whole shared object (System V ABI, chapters 4 and 5), of one page, and the smallest that dlopen(3) takes. It has no undefined
# symbols: the addresses of the functions that it calls are the quadwords at its end, where lib/native/module.ts writes them. The page is mapped
# twice: to be executed, and, a page higher, to be written, because the dynamic linker writes to the dynamic section.

        .intel_syntax noprefix
        .set HIGHER, 0x1000
        .text
file:
        .byte   0x7f, 'E', 'L', 'F', 2, 1, 1, 0         # 64 bits, little-endian, version 1
        .quad   0
        .short  3, 62                                   # ET_DYN, EM_X86_64
        .long   1
        .quad   0, headers - file, 0                    # no entry, program headers, no sections
        .long   0
        .short  64, 56, 4, 64, 0, 0
headers:
        .long   1, 5                                    # PT_LOAD, to be read and executed
        .quad   0, 0, 0, size, size, 0x1000
        .long   1, 6                                    # PT_LOAD, to be read and written
        .quad   0, HIGHER, HIGHER, size, size, 0x1000
        .long   2, 6                                    # PT_DYNAMIC
        .quad   dynamic - file, HIGHER + dynamic - file, HIGHER + dynamic - file, dynamic_end - dynamic, dynamic_end - dynamic, 8
        .long   0x6474e551, 6                           # PT_GNU_STACK: not executable
        .quad   0, 0, 0, 0, 0, 16
dynamic:
        .quad   4, hash - file                          # DT_HASH
        .quad   5, names - file                         # DT_STRTAB
        .quad   6, symbols - file                       # DT_SYMTAB
        .quad   10, names_end - names                   # DT_STRSZ
        .quad   11, 24                                  # DT_SYMENT
        .quad   0, 0
dynamic_end:
symbols:
        .zero   24
        .long   1                                       # its name's place
        .byte   0x12, 0                                 # STB_GLOBAL, STT_FUNC
        .short  1                                       # defined
        .quad   register - file, 0
hash:
        .long   1, 2, 1, 0, 0                           # one chain, with the one symbol in it
names:
        .byte   0
        .asciz  "napi_register_module_v1"
names_end:

        .balign 16
# napi_value napi_register_module_v1(napi_env env, napi_value exports): the module is the function.
register:
        xor     r8d, r8d
        lea     rcx, [rip + bind]
# Makes a function of rcx and r8 for the environment in rdi.
make:
        sub     rsp, 24
        xor     esi, esi                                # no name
        xor     edx, edx
        lea     r9, [rsp + 8]
        mov     qword ptr [rsp + 8], 0
        call    [rip + napi_create_function]
        mov     rax, [rsp + 8]
        add     rsp, 24
        ret

# napi_value bind(napi_env env, napi_callback_info info)
bind:
        push    rbx
        sub     rsp, 32
        mov     rbx, rdi
        mov     qword ptr [rsp], 1
        mov     rdx, rsp                                # size_t *argc
        lea     rcx, [rsp + 8]                          # napi_value *argv
        xor     r8d, r8d
        xor     r9d, r9d
        call    [rip + napi_get_cb_info]
        mov     rdi, rbx
        mov     rsi, [rsp + 8]
        lea     rdx, [rsp + 16]
        call    [rip + napi_get_value_int64]
        mov     rdi, rbx
        mov     r8, [rsp + 16]
        lea     rcx, [rip + run]
        add     rsp, 32
        pop     rbx
        jmp     make

# napi_value run(napi_env env, napi_callback_info info): calls what was bound.
run:
        sub     rsp, 24
        xor     edx, edx
        xor     ecx, ecx
        xor     r8d, r8d
        lea     r9, [rsp + 8]                           # void **data
        call    [rip + napi_get_cb_info]
        call    [rsp + 8]
        xor     eax, eax
        add     rsp, 24
        ret

        .balign 8, 0xcc
napi_create_function:
        .quad   0
napi_get_cb_info:
        .quad   0
napi_get_value_int64:
        .quad   0
        .set    size, . - file
