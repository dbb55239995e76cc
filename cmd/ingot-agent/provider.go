package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// The addresses of metadata services: nearly everyone's and Scaleway's.
const (
	metadataHost = "169.254.169.254"
	scalewayHost = "169.254.42.42"
)

// endpoint is where a provider's metadata service has the user-data. Paths and
// headers are those of Ignition's own providers (internal/providers of
// Ignition 2.27), whose documentation names them for this use.
type endpoint struct {
	platform string // Ignition platform id
	host     string
	path     string
	header   [2]string // of the request, name and value
	token    *session  // to be had first
	base64   bool      // the service encodes what it was given
	// network is where it says of the network what neither DHCP nor router
	// advertisements do; empty is nowhere.
	network string
}

// session is a service that answers only whoever has asked for a token.
type session struct {
	path     string
	lifetime [2]string // header of the request for it, name and seconds
	header   string    // to be sent with all others
}

// endpoints is in the order in which they are asked on an unknown platform:
// first what many clouds imitate, then what only one has.
var endpoints = []endpoint{
	{platform: "openstack", host: metadataHost, path: "/openstack/latest/user_data"},
	{platform: "aws", host: metadataHost, path: "/latest/user-data", token: &session{
		path: "/latest/api/token", lifetime: [2]string{"X-aws-ec2-metadata-token-ttl-seconds", "300"}, header: "X-aws-ec2-metadata-token",
	}},
	{platform: "gcp", host: metadataHost, path: "/computeMetadata/v1/instance/attributes/user-data", header: [2]string{"Metadata-Flavor", "Google"}},
	{platform: "hetzner", host: metadataHost, path: "/hetzner/v1/userdata", network: "/hetzner/v1/metadata/network-config"},
	{platform: "digitalocean", host: metadataHost, path: "/metadata/v1/user-data"},
	{platform: "vultr", host: metadataHost, path: "/user-data/user-data"},
	{platform: "upcloud", host: metadataHost, path: "/metadata/v1/user_data"},
	{platform: "exoscale", host: metadataHost, path: "/1.0/user-data"},
	{platform: "akamai", host: metadataHost, path: "/v1/user-data", base64: true, token: &session{
		path: "/v1/token", lifetime: [2]string{"Metadata-Token-Expiry-Seconds", "300"}, header: "Metadata-Token",
	}},
	{platform: "azure", host: metadataHost, path: "/metadata/instance/compute/userData?api-version=2021-01-01&format=text", header: [2]string{"Metadata", "true"}, base64: true},
	{platform: "scaleway", host: scalewayHost, path: "/user_data/cloud-init"},
}

// endpointsOf are those to ask on a platform. One that is not in the table, or
// is not known, is asked every way there is at the common address. Scaleway's
// own address is left alone: its machines all say in DMI what they are.
func endpointsOf(platform string) []endpoint {
	var known, all []endpoint
	for _, e := range endpoints {
		if e.platform == platform {
			known = append(known, e)
		}
		if e.host == metadataHost {
			all = append(all, e)
		}
	}
	if known != nil {
		return known
	}
	return all
}

// A refusal that another attempt will not change.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// fetch gets one endpoint's user-data.
func (e endpoint) fetch(ctx context.Context, client *http.Client) ([]byte, error) {
	headers := map[string]string{}
	if e.header[0] != "" {
		headers[e.header[0]] = e.header[1]
	}
	if t := e.token; t != nil {
		token, err := e.request(ctx, client, http.MethodPut, t.path, map[string]string{t.lifetime[0]: t.lifetime[1]})
		if err != nil {
			return nil, err
		}
		headers[t.header] = string(token)
	}
	b, err := e.request(ctx, client, http.MethodGet, e.path, headers)
	if err != nil || !e.base64 {
		return b, err
	}
	plain := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Decode(plain, b)
	if err != nil {
		return nil, finalError{fmt.Errorf("%w: it is not base64, as this provider hands it out", errRefused)}
	}
	return plain[:n], nil
}

func (e endpoint) request(ctx context.Context, client *http.Client, method, path string, headers map[string]string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+e.host+path, nil)
	if err != nil {
		return nil, finalError{err}
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusNoContent, code == http.StatusNotFound:
		return nil, finalError{fs.ErrNotExist}
	case code == http.StatusTooManyRequests, code >= 500:
		return nil, fmt.Errorf("HTTP status %d", code)
	case code != http.StatusOK:
		return nil, finalError{fmt.Errorf("HTTP status %d", code)}
	}
	b, err := readAtMost(resp.Body)
	if errors.Is(err, errRefused) {
		return nil, finalError{err}
	}
	return b, err
}

// requestTime bounds one request. A service that is slower is asked again.
const requestTime = 20 * time.Second

// newClient is an HTTP client that talks to nobody but the address it is given:
// no proxy, no redirect, no connection kept.
func newClient() *http.Client {
	return &http.Client{
		Timeout:       requestTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DialContext: dialLow, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10},
	}
}

// lowestPort is where bindresvport(3) stops looking, too.
const lowestPort = 512

// dialLow connects from a port below 1024, which Scaleway demands as proof that
// it is root who asks, and which no other service minds.
func dialLow(ctx context.Context, network, address string) (net.Conn, error) {
	for port := 1023; ; port-- {
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}}
		c, err := d.DialContext(ctx, network, address)
		// Taken: by a connection of a moment ago.
		if taken := errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL); !taken || port == lowestPort {
			return c, err
		}
	}
}

// ask asks the endpoints in their order, again and again until one has a config
// or each has said for good that it has none.
func ask(ctx context.Context, client *http.Client, list []endpoint, pause time.Duration) answer {
	last := make([]error, len(list))
	for {
		down := map[string]bool{}
		for i, e := range list {
			if down[e.host] || errors.As(last[i], new(finalError)) {
				continue
			}
			b, err := e.fetch(ctx, client)
			if err == nil {
				err = screen(b)
				if err == nil {
					a := answer{Config: b, URL: "http://" + e.host + e.path}
					e.askNetwork(ctx, client, pause, &a)
					return a
				}
				err = finalError{err}
			}
			if ctx.Err() != nil && last[i] != nil {
				break // the deadline says less than what came before it
			}
			last[i] = err
			down[e.host] = errors.As(err, new(net.Error))
		}
		final := !slices.ContainsFunc(last, func(err error) bool { return !errors.As(err, new(finalError)) })
		if final || !wait(ctx, pause) {
			return nothing(list, last)
		}
	}
}

// askNetwork asks for the network, too. The machine can do without, so that a service
// that fails three times is believed to have none.
func (e endpoint) askNetwork(ctx context.Context, client *http.Client, pause time.Duration, a *answer) {
	if e.network == "" {
		return
	}
	for try := range 3 {
		b, err := e.request(ctx, client, http.MethodGet, e.network, nil)
		if err == nil {
			a.Network, a.NetworkProblem = b, ""
			return
		}
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		a.NetworkProblem = httpProblem(err)
		if errors.As(err, new(finalError)) || try < 2 && !wait(ctx, pause) {
			return
		}
	}
}

// wait reports whether d has passed before ctx was done.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// nothing tells what each endpoint said last. Those that have nothing are not
// listed when another had something to say.
func nothing(list []endpoint, last []error) answer {
	var a answer
	for i, err := range last {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		a.Problems = append(a.Problems, list[i].platform+": "+httpProblem(err))
		a.Refused = a.Refused || errors.Is(err, errRefused)
	}
	if a.Problems == nil {
		a.Problems = []string{"it has no user-data for this machine"}
	}
	return a
}

// httpProblem is an error of a request without what the reader knows already.
func httpProblem(err error) string {
	var op *net.OpError
	var outer *url.Error
	switch {
	case errors.As(err, new(finalError)):
		return err.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &outer) && outer.Timeout():
		return "no answer in time"
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.As(err, &outer):
		return outer.Err.Error()
	}
	return err.Error()
}
