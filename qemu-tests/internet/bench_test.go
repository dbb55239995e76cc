package internet

import (
	"io"
	"net"
	"testing"
	"time"
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
