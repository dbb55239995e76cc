package internet

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// sink is a machine that takes every frame and says nothing.
func sink(tb testing.TB, opts Options) (*Internet, *Machine) {
	tb.Helper()
	in, err := New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = in.Close() })
	m, err := in.AddMachine(MachineOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	c, err := net.Dial("unix", m.Socket())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	go func() { _, _ = io.Copy(io.Discard, c) }()
	<-m.Connected()
	return in, m
}

// BenchmarkScanTCP is a scan of every port of a silent machine, waits aside.
func BenchmarkScanTCP(b *testing.B) {
	in, m := sink(b, Options{ProbeTries: 3, ProbeWait: time.Nanosecond})
	ports := AllPorts()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.ScanTCP(b.Context(), m.IPv4(), ports); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecord is one frame of a scan put on record.
func BenchmarkRecord(b *testing.B) {
	in, m := sink(b, Options{})
	frame := make([]byte, 58)
	b.ReportAllocs()
	for b.Loop() {
		in.record.add(m, ToMachine, ordinary, false, frame)
	}
}

// BenchmarkStranger is all a stranger asks a machine that is silent: every TCP
// and UDP port and a ping, over both families, with the waits of an emulated
// machine.
func BenchmarkStranger(b *testing.B) {
	for name, atOnce := range map[string]int{"one by one": 1, "at once": -1} {
		b.Run(name, func(b *testing.B) {
			in, m := sink(b, Options{ProbeWait: 1200 * time.Millisecond})
			for b.Loop() {
				var all errgroup.Group
				all.SetLimit(atOnce)
				for _, addr := range families(m) {
					all.Go(func() error { _, err := in.ScanTCP(b.Context(), addr, AllPorts()); return err })
					all.Go(func() error { _, err := in.ProbeUDP(b.Context(), addr, AllPorts(), nil); return err })
					all.Go(func() error { _, err := in.Ping(b.Context(), addr); return err })
				}
				if err := all.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFlood is a million SYNs, and what they leave in memory.
func BenchmarkFlood(b *testing.B) {
	in, m := sink(b, Options{ProbeWait: time.Nanosecond})
	for b.Loop() {
		if _, err := in.Flood(b.Context(), netip.AddrPortFrom(m.IPv4(), 443), 1_000_000); err != nil {
			b.Fatal(err)
		}
	}
	reportHeap(b)
}

// BenchmarkIndex is a million frames of other kinds on record.
func BenchmarkIndex(b *testing.B) {
	in, m := sink(b, Options{})
	frame := make([]byte, 74)
	for b.Loop() {
		for range 1_000_000 {
			in.record.add(m, ToMachine, ordinary, false, frame)
		}
	}
	reportHeap(b)
}

// reportHeap says how much memory is in use and how much was taken from the
// system.
func reportHeap(b *testing.B) {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	b.ReportMetric(float64(s.HeapAlloc)/1e6, "MB-live")
	b.ReportMetric(float64(s.Sys-s.HeapReleased)/1e6, "MB-system")
}
