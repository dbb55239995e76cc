package internet

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Frame is one recorded frame. Frames are recorded before the fault rules, so
// what a machine tried to send is seen although it got nowhere.
type Frame struct {
	Time      time.Time
	Machine   *Machine
	Direction Direction
	Dropped   bool            // a fault ate it
	Packet    gopacket.Packet // layers are decoded when asked for
}

// Mark is a moment in the record: the number of frames before it.
type Mark int

// Mark returns the present end of the record.
func (in *Internet) Mark() Mark { return Mark(in.record.length()) }

// Frames iterates over the frames from a mark to the present end, in the order
// they were on the wire. An error ends it: the record is then incomplete.
func (in *Internet) Frames(since Mark) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		end := in.record.length()
		for n := int(since); n < end; n++ {
			f, _, err := in.frameAt(n)
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// Count returns how many frames since a mark match. That nothing matches proves
// little without a positive control: the same match must be seen to count.
func (in *Internet) Count(since Mark, match func(Frame) bool) (int, error) {
	count := 0
	for f, err := range in.Frames(since) {
		if err != nil {
			return 0, err
		}
		if match(f) {
			count++
		}
	}
	return count, nil
}

// Await returns the first frame since a mark that matches, and waits for it
// until ctx is done.
func (in *Internet) Await(ctx context.Context, since Mark, match func(Frame) bool) (Frame, error) {
	for n := int(since); ; n++ {
		f, wait, err := in.frameAt(n)
		for err == nil && wait != nil {
			select {
			case <-wait:
				f, wait, err = in.frameAt(n)
			case <-ctx.Done():
				err = fmt.Errorf("no such frame among %d: %w", n-int(since), context.Cause(ctx))
			case <-in.ctx.Done():
				err = fmt.Errorf("no such frame among %d: the internet is closed", n-int(since))
			}
		}
		if err != nil || match(f) {
			return f, err
		}
	}
}

func (in *Internet) frameAt(n int) (Frame, <-chan struct{}, error) {
	e, data, wait, err := in.record.get(n)
	if err != nil || wait != nil {
		return Frame{}, wait, err
	}
	in.mu.RLock()
	defer in.mu.RUnlock()
	return Frame{
		Time: time.Unix(0, e.time), Machine: in.machines[e.machine-1], Direction: e.dir, Dropped: e.dropped,
		Packet: gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true}),
	}, nil, nil
}

// IsHousekeeping reports whether a frame is what every machine sends to have an
// address at all: ARP, DHCP, neighbour and router discovery, multicast
// listener reports. Everything else is a machine saying something.
func IsHousekeeping(f Frame) bool {
	p := f.Packet
	if p.Layer(layers.LayerTypeARP) != nil || p.Layer(layers.LayerTypeDHCPv4) != nil || p.Layer(layers.LayerTypeDHCPv6) != nil {
		return true
	}
	if p.Layer(layers.LayerTypeIGMP) != nil {
		return true
	}
	icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if !ok {
		return false
	}
	switch icmp.TypeCode.Type() {
	case layers.ICMPv6TypeRouterSolicitation, layers.ICMPv6TypeRouterAdvertisement,
		layers.ICMPv6TypeNeighborSolicitation, layers.ICMPv6TypeNeighborAdvertisement,
		layers.ICMPv6TypeMLDv1MulticastListenerQueryMessage, layers.ICMPv6TypeMLDv1MulticastListenerReportMessage,
		layers.ICMPv6TypeMLDv1MulticastListenerDoneMessage, layers.ICMPv6TypeMLDv2MulticastListenerReportMessageV2:
		return true
	}
	return false
}
