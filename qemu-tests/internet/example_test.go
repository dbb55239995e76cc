package internet_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/qemu-tests/internet"
)

// Example boots a disk on an internet of its own and asks it what a stranger
// would. docs/internet.md shows it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	in, err := internet.New(internet.Options{PCAP: "packets.pcapng"})
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()

	// A web server that exists only here, and its name.
	web, err := in.Listen(netip.MustParseAddrPort("93.184.216.34:80"))
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(web, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	if err := in.SetDNS("example.com. A 93.184.216.34"); err != nil {
		log.Fatal(err)
	}

	// A machine. Its DHCP server answers the third time only.
	m, err := in.AddMachine(internet.MachineOptions{Name: "server"})
	if err != nil {
		log.Fatal(err)
	}
	m.LoseOffers(2)
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{"-m", "512", "-nographic", "disk.img"}, m.QEMUArgs("")...)...)
	if err := qemu.Start(); err != nil {
		log.Fatal(err)
	}
	// It has a lease when a packet comes from its address.
	if _, err := in.Await(ctx, 0, func(f internet.Frame) bool {
		ip := f.Packet.NetworkLayer()
		return ip != nil && ip.NetworkFlow().Src().String() == m.IPv4().String()
	}); err != nil {
		log.Fatal(err)
	}

	// Every TCP port, over both protocols at the same time.
	var scans errgroup.Group
	for _, addr := range []netip.Addr{m.IPv4(), m.IPv6()} {
		scans.Go(func() error {
			scan, err := in.ScanTCP(ctx, addr, internet.AllPorts())
			fmt.Println(addr, "open:", scan.In(internet.Open))
			return err
		})
	}
	if err := scans.Wait(); err != nil {
		log.Fatal(err)
	}
}

// TestPageShowsTheExample keeps docs/internet.md and the Example the same.
func TestPageShowsTheExample(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/internet.md")
	if err != nil {
		t.Fatal(err)
	}
	if shown := indented(string(page), "ctx, cancel"); shown == "" || shown != body(string(code), "func Example() {\n") {
		t.Errorf("docs/internet.md shows\n%s\nwhich is not the Example", shown)
	}
}

// indented returns the indented block of a page that begins with a text.
func indented(page, begin string) string {
	_, rest, _ := strings.Cut(page, "\n    "+begin)
	var b strings.Builder
	for line := range strings.Lines(begin + rest) {
		if b.Len() > 0 && line != "\n" && !strings.HasPrefix(line, "    ") {
			break
		}
		b.WriteString(strings.TrimPrefix(line, "    "))
	}
	return strings.TrimSpace(b.String())
}

// body returns a function's body as a page shows it, with spaces for tabs.
func body(code, function string) string {
	_, rest, _ := strings.Cut(code, function)
	inside, _, _ := strings.Cut(rest, "\n}\n")
	var b strings.Builder
	for line := range strings.Lines(inside) {
		b.WriteString(strings.TrimPrefix(line, "\t"))
	}
	return strings.TrimSpace(strings.ReplaceAll(b.String(), "\t", "    "))
}
