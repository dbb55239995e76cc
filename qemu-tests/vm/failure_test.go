package vm

import (
	"slices"
	"testing"
)

// What QEMU 10 prints for two processors, shortened.
const infoRegisters = `
CPU#0
RAX=ffffffff9a4f6d60 RBX=ffffffff9be0f8c0 RCX=0000000000000001 RDX=4000000000000000
RIP=ffffffff9a4f73eb RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]

CPU#1
RIP=00007f1e2c0d1c30 RFL=00000202 [-------] CPL=3 II=0 A20=1 SMM=0 HLT=0
`

func TestWhereabouts(t *testing.T) {
	t.Parallel()
	want := []string{"CPU#0 RIP=ffffffff9a4f73eb CPL=0 HLT=1", "CPU#1 RIP=00007f1e2c0d1c30 CPL=3 HLT=0"}
	if got := whereabouts(infoRegisters); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := whereabouts("no registers"); len(got) != 0 {
		t.Errorf("got %q of nothing", got)
	}
}
