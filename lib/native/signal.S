# The handler of the signal that takes a vCPU thread out of KVM_RUN: being interrupted is all that is wanted.
        .text
        ret
