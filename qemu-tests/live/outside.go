package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/layers"
	"ingot/qemu-tests/verdict"
)

// Limits of the look from outside. The assay tries all ports of the image; here it
// is looked at whether the machine that runs has another wall: what answers below
// 1024, at the ports of the plan and where others like to listen.
const (
	wellKnown  = 1024
	probes     = 256
	probeTime  = 2 * time.Second
	probeTries = 2 // a packet may be lost
)

// oftenOpen are ports above 1024 at which servers are found that should not be
// (Docker, databases, RDP, VNC, development servers, Kubernetes).
var oftenOpen = []int{1433, 1521, 2049, 2222, 2375, 2376, 2379, 3000, 3306, 3389, 4243, 5000, 5432, 5900, 5984, 6379, 6443, 8000, 8080, 8081, 8443, 8888, 9000, 9090, 9091, 9200, 10250, 11211, 27017, 50000}

// outside tries TCP ports of one address.
func outside(ctx context.Context, plan layers.Plan, address netip.Addr) verdict.Result {
	r := verdict.Result{
		ID: "live.outside-" + family(address), Layer: "live", Title: "only declared ports answer at " + address.String(), Result: verdict.Passed,
	}
	begun := time.Now()
	defer func() { r.Seconds = time.Since(begun).Seconds() }()
	declared, ports := map[int]bool{}, slices.Clone(oftenOpen)
	for _, p := range plan.Ports {
		if p.Proto == "tcp" {
			ports = append(ports, p.Port)
			declared[p.Port] = declared[p.Port] || p.From == layers.FromInternet
		}
	}
	for p := 1; p < wellKnown; p++ {
		ports = append(ports, p)
	}
	slices.Sort(ports)
	open := scan(ctx, address, slices.Compact(ports))
	var wrong []string
	for _, p := range open {
		if !declared[p] {
			wrong = append(wrong, strconv.Itoa(p))
		}
	}
	r.Evidence = fmt.Sprintf("of %d TCP ports, open: %v", len(slices.Compact(ports)), open)
	if len(wrong) > 0 {
		r.Result, r.Class = verdict.Failed, verdict.Product
		r.Problem = "open to the internet and not declared: " + strings.Join(wrong, ", ")
	}
	return r
}

// routed reports whether this computer has a way to an address. Nothing is sent.
func routed(a netip.Addr) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// scan returns the ports that accept a connection.
func scan(ctx context.Context, address netip.Addr, ports []int) []int {
	var mu sync.Mutex
	var open []int
	var group errgroup.Group
	group.SetLimit(probes)
	for _, p := range ports {
		group.Go(func() error {
			if answers(ctx, netip.AddrPortFrom(address, uint16(p))) {
				mu.Lock()
				defer mu.Unlock()
				open = append(open, p)
			}
			return nil
		})
	}
	_ = group.Wait()
	slices.Sort(open)
	return open
}

func answers(ctx context.Context, to netip.AddrPort) bool {
	d := net.Dialer{Timeout: probeTime}
	for range probeTries {
		c, err := d.DialContext(ctx, "tcp", to.String())
		if err == nil {
			c.Close()
			return true
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return false
		}
	}
	return false
}
