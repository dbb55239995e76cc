package assay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ingot/layers"
	"ingot/qemu-tests/internet"
)

// serviceTime is how long a web service may take to answer under KVM, and how
// long a port is waited for before it is called filtered.
const serviceTime = 5 * time.Second

// maxBody is how much of an answer is looked at, in bytes.
const maxBody = 1 << 20

// dialer is [net.Dialer.DialContext], or the tunnel's.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// http asks a web service as a peer in the tunnel does.
func (r *run) http(ctx context.Context, c layers.HTTPCheck) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(serviceTime))
	defer cancel()
	return askHTTP(ctx, r.tunnel.DialContext, net.JoinHostPort(r.id.serverTunnel, strconv.Itoa(c.Port)), c)
}

func askHTTP(ctx context.Context, dial dialer, address string, c layers.HTTPCheck) (string, error) {
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+c.Path, nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", unmet("no answer to GET %s at port %d: %v", c.Path, c.Port, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		return answer.Status, unmet("the answer to GET %s broke off: %v", c.Path, err)
	}
	want := c.Status
	if want == 0 {
		want = http.StatusOK
	}
	evidence := answer.Status + " " + clip(string(body))
	switch {
	case answer.StatusCode != want:
		return evidence, unmet("GET %s is answered with %d and should be with %d", c.Path, answer.StatusCode, want)
	case !strings.Contains(string(body), c.Contains):
		return evidence, unmet("the answer to GET %s does not contain %q", c.Path, c.Contains)
	}
	return evidence, nil
}

// reach looks at one port from one place.
func (r *run) reach(ctx context.Context, c layers.ReachCheck) (string, error) {
	if c.From == layers.FromWireGuard {
		ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(serviceTime))
		defer cancel()
		state, err := dialState(ctx, r.tunnel.DialContext, net.JoinHostPort(r.id.serverTunnel, strconv.Itoa(c.Port)))
		if err != nil {
			return "", err
		}
		return compareReach(c, "a peer", state)
	}
	var seen []string
	for _, target := range []netip.Addr{r.lab.Machine.IPv4(), r.lab.Machine.IPv6()} {
		state, err := r.probe(ctx, c, target)
		if err != nil {
			return "", err
		}
		evidence, err := compareReach(c, "a stranger at "+target.String(), state)
		if err != nil {
			return evidence, err
		}
		seen = append(seen, evidence)
	}
	return strings.Join(seen, ", "), nil
}

// probe asks a port as a stranger.
func (r *run) probe(ctx context.Context, c layers.ReachCheck, target netip.Addr) (string, error) {
	ports := []uint16{uint16(c.Port)}
	var scan internet.Scan
	var err error
	if c.Proto == "udp" {
		scan, err = r.lab.Internet.ProbeUDP(ctx, target, ports, []byte("ingot assay"))
	} else {
		scan, err = r.lab.Internet.ScanTCP(ctx, target, ports)
	}
	if err != nil {
		return "", err
	}
	switch scan.State(ports[0]) {
	case internet.Open:
		return "open", nil
	case internet.Filtered:
		return "filtered", nil
	}
	return "closed", nil // refused by a reset or by ICMP
}

// dialState tells the three states of a TCP port apart by connecting. The end
// of ctx is the patience with a port that does not answer.
func dialState(ctx context.Context, dial dialer, address string) (string, error) {
	conn, err := dial(ctx, "tcp", address)
	switch {
	case err == nil:
		conn.Close()
		return "open", nil
	case errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "refused"):
		return "closed", nil
	case ctx.Err() != nil:
		return "filtered", nil
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "filtered", nil
	}
	return "", err
}

func compareReach(c layers.ReachCheck, who, state string) (string, error) {
	evidence := fmt.Sprintf("%s/%d is %s to %s", c.Proto, c.Port, state, who)
	if state != c.State {
		return evidence, unmet("%s/%d is %s to %s and should be %s", c.Proto, c.Port, state, who, c.State)
	}
	return evidence, nil
}
