package internet

import (
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

func newTestLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func containsKey(text string, key wgKey) bool {
	return strings.Contains(text, b64(key.private)) || strings.Contains(text, b64(key.private)[:10])
}

// TestCloseLeavesNoGoroutine does not run in parallel with others, because it
// counts goroutines.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("a busy life", busyLife)
	await(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

func busyLife(t *testing.T) {
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.serveTCP(22)
	if err := in.SetMetadata(http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	server, client := newKey(t), newKey(t)
	psk := newKey(t).private
	g.serveWireGuard(t, server, client, psk)
	tunnel, err := in.NewTunnel(tunnelOptions(client, server, psk, m.IPv4()))
	if err != nil {
		t.Fatal(err)
	}
	if err := tunnel.WaitHandshake(deadline(t)); err != nil {
		t.Fatal(err)
	}
	// Everything below is left open on purpose.
	if _, err := tunnel.DialContext(deadline(t), "tcp", "10.8.0.1:7"); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Dial(deadline(t), "tcp", netip.Addr{}, netip.AddrPortFrom(m.IPv4(), 22)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Listen(netip.MustParseAddrPort("1.2.3.4:80")); err != nil {
		t.Fatal(err)
	}
	if _, err := g.dial(deadline(t), netip.AddrPortFrom(in.DNSAddrs()[0], 53)); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
}

// A tunnel that is closed with traffic in flight must neither panic nor hang.
func TestCloseTunnelUnderLoad(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	server, client := newKey(t), newKey(t)
	psk := newKey(t).private
	g.serveWireGuard(t, server, client, psk)
	for range 10 {
		tunnel, err := in.NewTunnel(tunnelOptions(client, server, psk, m.IPv4()))
		if err != nil {
			t.Fatal(err)
		}
		if err := tunnel.WaitHandshake(deadline(t)); err != nil {
			t.Fatal(err)
		}
		c, err := tunnel.DialContext(deadline(t), "tcp", "10.8.0.1:7")
		if err != nil {
			t.Fatal(err)
		}
		flood := make(chan struct{})
		go func() {
			defer close(flood)
			buf := make([]byte, 32<<10)
			for {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		}()
		if _, err := io.ReadFull(c, make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		_ = tunnel.Close()
		<-flood
	}
}

// FuzzReceive feeds the internet what a hostile machine could send.
func FuzzReceive(f *testing.F) {
	in, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = in.Close() })
	m, err := in.AddMachine(MachineOptions{})
	if err != nil {
		f.Fatal(err)
	}
	p := in.begin(6, m.IPv4())
	f.Cleanup(func() { in.probes.end(p) })
	for _, flood := range []bool{true, false} { // at ports 2000 and 3000
		throng, err := in.beginThrong(netip.AddrPortFrom(m.IPv4(), 443), flood)
		if err != nil {
			f.Fatal(err)
		}
		throng.join()
	}
	if err := m.SetPathMTU(minMTU); err != nil {
		f.Fatal(err)
	}
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m.receive(frame)
		if other := m.frame(frame); len(other) != etherHeader+len(frame) {
			t.Errorf("a packet of %d bytes became a frame of %d", len(frame), len(other))
		}
	})
}

// FuzzReadFrame reads streams that are cut, out of step, or not QEMU's.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 9})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		frame, err := readFrame(strings.NewReader(string(stream)), make([]byte, maxFrame))
		if err == nil && len(frame) > len(stream)-4 {
			t.Errorf("read %d bytes out of %d", len(frame), len(stream))
		}
	})
}

// seeds are the beginnings of frames of every kind that is handled.
func seeds() [][]byte {
	eth := func(kind string, rest ...byte) []byte {
		return append([]byte(string(gatewayMAC)+"\x52\x54\x00\x10\x00\x01"+kindBytes(kind)), rest...)
	}
	v4 := func(protocol byte, body ...byte) []byte {
		ip := []byte{0x45, 0, 0, byte(20 + len(body)), 0, 0, 0, 0, 64, protocol, 0, 0, 203, 0, 113, 10, 45, 79, 0, 1}
		return eth("v4", append(ip, body...)...)
	}
	v6 := func(next byte, body ...byte) []byte {
		ip := append([]byte{0x60, 0, 0, 0, 0, byte(len(body)), next, 255}, make([]byte, 32)...)
		return eth("v6", append(ip, body...)...)
	}
	return [][]byte{
		{}, eth("arp", 0, 1, 8, 0, 6, 4, 0, 1), eth("v4"), eth("v4", 0x45), v4(17)[:30], append(v4(6), 1, 2, 3)[:36], eth("v6", 0x60), v6(58)[:40],
		v4(6, make([]byte, 20)...), v4(17, 0, 68, 0, 67, 0, 8, 0, 0), v4(1, 8, 0, 0, 0, 0, 0, 0, 0),
		v4(1, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, v4(17, make([]byte, 8)...)[14:]...)...),
		v4(1, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, v4(6, 0x07, 0xd0, 1, 187, 0, 0, 0, 0)[14:]...)...),
		v4(6, 1, 187, 0x07, 0xd0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x04, 0, 0, 0, 0, 0, 0),
		v4(6, 1, 187, 0x0b, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x01, 0, 0, 0, 0, 0, 0),
		append(eth("v4", 0x45, 0, 5, 120), make([]byte, 1396)...), append(eth("v6", 0x60, 0, 0, 0, 5, 80), make([]byte, 1394)...),
		v6(58, 135, 0, 0, 0), v6(58, 133, 0, 0, 0), v6(58, 128, 0, 0, 0, 0, 0, 0, 0), v6(58, 1, 4, 0, 0, 0, 0, 0, 0, 0x60),
	}
}

func kindBytes(kind string) string {
	return map[string]string{"arp": "\x08\x06", "v4": "\x08\x00", "v6": "\x86\xdd"}[kind]
}
