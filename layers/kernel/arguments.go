package kernel

import (
	"slices"
	"strings"
)

// argument is one kernel argument and why it is there.
type argument struct{ text, why string }

func (a argument) name() string {
	name, _, _ := strings.Cut(a.text, "=")
	return name
}

// defaultArguments are the Kernel Self Protection Project's recommended
// command line (https://kspp.github.io/Recommended_Settings) as far as a
// virtual server can bear it; what each does is in the kernel's
// admin-guide/kernel-parameters.txt. Some are the default of Debian's kernel
// today and are written down all the same: a default may change.
//
// Left out on purpose: nosmt (takes half of the processors that were paid
// for; the host decides what shares a core), pti=on and the other mitigations
// (auto looks at the processor there is), slub_debug and page_poison
// (init_on_free does the same for less), oops=panic (the sysctl layer),
// intel_iommu=on (a VPS has no IOMMU of its own), random.trust_cpu=off (delays
// every boot of a machine that has no other early source).
func defaultArguments() []argument {
	return []argument{
		{"slab_nomerge", "objects of different kinds do not share a slab: an overflow stays among its own kind"},
		{"init_on_alloc=1", "memory is zero when it is handed out: no old content leaks"},
		{"init_on_free=1", "and zero when it is given back: what was freed cannot be read or used"},
		{"page_alloc.shuffle=1", "free pages come in a random order"},
		{"randomize_kstack_offset=on", "the kernel's stack begins elsewhere in each system call"},
		{"vsyscall=none", "no code at a fixed address in every program"},
		{"vdso32=0", "nor for 32-bit programs"},
		{"ia32_emulation=0", "no 32-bit system calls: half of the kernel's entry points, used by nothing here"},
		{"debugfs=off", "debugging files tell and change too much"},
		{"hardened_usercopy=1", "copies between kernel and programs stay within one object"},
		{"kfence.sample_interval=100", "one allocation every 100 ms (KSPP) is watched for misuse, at next to no cost"},
		{"iommu.strict=1", "where devices have an IOMMU, what they let go of is closed at once"},
		{"iommu.passthrough=0", "and none goes around it"},
		{"efi=disable_early_pci_dma", "nor before the IOMMU is up"},
		{"proc_mem.force_override=ptrace", "a program's read-only memory is written by its debugger only"},
		{"bdev_allow_write_mounted=0", "nobody writes to the device below a mounted file system"},
	}
}

// arguments returns what the options leave of the defaults, and lockdown's.
func (o Options) arguments() []argument {
	list := slices.DeleteFunc(defaultArguments(), func(a argument) bool {
		return slices.Contains(o.Without, a.name()) || o.IA32 && slices.Contains(ia32Arguments, a.name())
	})
	if level := o.lockdown(); level != LockdownOff {
		list = append(list, argument{"lockdown=" + string(level), lockdownWhy[level]})
	}
	return list
}

// ia32Arguments keep 32-bit programs from running.
var ia32Arguments = []string{"vdso32", "ia32_emulation"}

var lockdownWhy = map[Lockdown]string{
	LockdownIntegrity:       "not even root changes the running kernel: signed modules only, no kexec, no /dev/mem (kernel_lockdown(7))",
	LockdownConfidentiality: "not even root changes the running kernel or reads its memory (kernel_lockdown(7))",
}
