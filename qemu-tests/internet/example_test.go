package internet_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/qemu-tests/internet"
)

// A machine boots on an internet of its own, is scanned from outside while its
// resolver is dead, and fetches a page from a host that only exists here.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()

	in, err := internet.New(internet.Options{PCAP: "packets.pcapng"})
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	m, err := in.AddMachine(internet.MachineOptions{Name: "server"})
	if err != nil {
		log.Fatal(err)
	}
	// The page's host and its name.
	l, err := in.Listen(netip.MustParseAddrPort("93.184.216.34:80"))
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	if err := in.SetDNS("example.com. A 93.184.216.34"); err != nil {
		log.Fatal(err)
	}

	// Any QEMU; it needs no root and no network of the host.
	args := append([]string{"-m", "512", "-nographic", "-drive", "file=disk.qcow2,if=virtio"}, m.QEMUArgs()...)
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	if err := qemu.Start(); err != nil {
		log.Fatal(err)
	}
	// It is up when it has asked for the page's name.
	if _, err := in.Await(ctx, 0, func(f internet.Frame) bool {
		return f.Direction == internet.FromMachine && f.Packet.ApplicationLayer() != nil && !internet.IsHousekeeping(f)
	}); err != nil {
		log.Fatal(err)
	}

	for _, resolver := range in.DNSAddrs() {
		in.BlackHole(resolver, true)
	}
	// Both families at once take as long as one.
	var scans errgroup.Group
	for _, addr := range []netip.Addr{m.IPv4(), m.IPv6()} {
		scans.Go(func() error {
			scan, err := in.ScanTCP(ctx, addr, internet.AllPorts())
			if err == nil {
				fmt.Println(addr, "open:", scan.In(internet.Open))
			}
			return err
		})
	}
	if err := scans.Wait(); err != nil {
		log.Fatal(err)
	}
}
