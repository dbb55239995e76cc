// Package vm runs QEMU for the assay: it boots the exact image file over a
// throw-away overlay, watches the serial console and controls the machine over
// QMP. It needs no root, no KVM and nothing installed on the host: QEMU comes
// from a [Toolchain].
//
// A machine never outlives the program that started it. Control and console
// are socket pairs inherited by QEMU, so there is no socket file to remove and
// no path length to respect, and the kernel ends QEMU when its parent dies,
// however that happens.
//
// Environment:
//
//	INGOT_ACCEL  tcg or kvm: use this accelerator without probing
//	INGOT_TOOLS  root of a toolchain, for this package's own QEMU tests
package vm
