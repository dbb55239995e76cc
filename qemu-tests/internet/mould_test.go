package internet

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// What is cast is what would have been built, checksums included.
func TestMouldCastsWhatWouldBeBuilt(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	payload := gopacket.Payload("who are you?")
	build := map[string]func(from, to uint16) []gopacket.SerializableLayer{
		"tcp": func(from, to uint16) []gopacket.SerializableLayer {
			tcp := syn(7)
			tcp.SrcPort, tcp.DstPort = layers.TCPPort(from), layers.TCPPort(to)
			return []gopacket.SerializableLayer{tcp}
		},
		"udp": func(from, to uint16) []gopacket.SerializableLayer {
			return []gopacket.SerializableLayer{&layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}, payload}
		},
	}
	protocols := map[string]layers.IPProtocol{"tcp": layers.IPProtocolTCP, "udp": layers.IPProtocolUDP}
	for family, target := range families(m) {
		for network, parts := range build {
			mould, err := m.mould(in.scanner(target, 0), target, parts(0, 0)...)
			if err != nil {
				t.Fatal(err)
			}
			for port := range 65536 {
				// From one source the ports give every checksum, also UDP's zero.
				for _, source := range []int{5, port} {
					from, fromPort := in.scanner(target, source*31), uint16(source*7)
					want, err := m.probeFrame(from, target, protocols[network], parts(fromPort, uint16(port))...)
					if err != nil {
						t.Fatal(err)
					}
					if got := mould.cast(from, fromPort, uint16(port)); !bytes.Equal(got, want) {
						t.Fatalf("%s over %s to port %d:\n%x, want\n%x", network, family, port, got, want)
					}
				}
			}
		}
	}
}
