package vm

import "fmt"

// The accelerators. KVM runs the guest on the processor, TCG translates it.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// tcgTimeoutFactor is rounded up from the kernel boots reported 5.7 times slower
// than with KVM; whole tests took 2.5 times as long (reference anchors §5:
// nixarchy#313, nix-bitcoin#272).
const tcgTimeoutFactor = 6

// Accel is how guest instructions are executed, and why that way.
type Accel struct {
	Name   string `json:"name"`   // KVM or TCG
	Reason string `json:"reason"` // one line for people
	// TimeoutFactor multiplies every timeout that was chosen for KVM.
	TimeoutFactor float64 `json:"timeoutFactor"`
}

func newAccel(name, reason string) (Accel, error) {
	switch name {
	case KVM:
		return Accel{Name: KVM, Reason: reason, TimeoutFactor: 1}, nil
	case TCG:
		return Accel{Name: TCG, Reason: reason, TimeoutFactor: tcgTimeoutFactor}, nil
	}
	return Accel{}, fmt.Errorf("unknown accelerator %q: use %s or %s", name, TCG, KVM)
}

// args selects the accelerator and the richest processor it can offer.
// tb-size is in MiB; it keeps QEMU below 600 MiB of memory where its default
// took 1.5 GiB (reference network-trial, Numbers).
func (a Accel) args() []string {
	if a.Name == KVM {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	// With erms the kernel clears memory by "rep stosb", which TCG does byte by
	// byte. Where pages are cleared when they are freed a boot took 37 s with it, 30 s
	// without.
	return []string{"-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,erms=off,fsrm=off"}
}
