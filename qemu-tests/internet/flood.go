package internet

import (
	"context"
	"fmt"
	"net/netip"
)

// Flood is what became of a SYN flood, in SYNs. Sent is the sum of the others.
type Flood struct {
	Sent     int
	SYNACKs  int // answered as if by an open port, once or more
	RSTs     int // answered as if by a closed port
	Rejected int // answered by an ICMP error
	Silent   int // not answered
}

// Flood sends SYNs to a machine's port as fast as the machine takes them, each
// from another source of the scanners' prefixes, and never completes a
// connection. It ends after that many SYNs, which 0 leaves open, or with ctx,
// which is no error; then it waits for the last answers. Ordinary frames go
// first. It fails when the machine goes away.
//
// It costs a byte of memory for each SYN. Of its frames, the answers included,
// the first 10,000 are written to the record; the others are in Totals, and
// the record says how many they are, but Frames, Count and Await miss them.
func (in *Internet) Flood(ctx context.Context, target netip.AddrPort, syns int) (Flood, error) {
	t, err := in.beginThrong(target, true)
	if err != nil {
		return Flood{}, fmt.Errorf("flood %v: %w", target, err)
	}
	defer t.end()
	in.record.beginFlood()
	if err := t.pour(ctx, syns); err != nil {
		return Flood{}, fmt.Errorf("flood %v: %w", target, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return Flood{
		Sent: len(t.states), SYNACKs: t.counts[answered] + t.counts[ended], RSTs: t.counts[reset],
		Rejected: t.counts[rejected], Silent: t.counts[silent],
	}, nil
}

// pour sends the SYNs and waits for what comes back.
func (t *throng) pour(ctx context.Context, syns int) error {
	k, err := t.knocker()
	if err != nil {
		return err
	}
	if most := t.most(); syns < 0 || syns > most {
		return fmt.Errorf("%d SYNs are not possible: use 0 to %d", syns, most)
	} else if syns == 0 {
		syns = most
	}
	for n := 0; n < syns && ctx.Err() == nil; n++ {
		// Each is pushed in the end, so that all that joined were sent.
		if err := k.knock(t.in.ctx, t.join()); err != nil {
			return err
		}
	}
	if err := k.link.flush(t.in.ctx); err != nil {
		return err
	}
	return k.settle(t.in.ctx)
}
