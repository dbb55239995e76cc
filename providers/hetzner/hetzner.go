// Package hetzner is Hetzner Cloud.
//
// There is no upload of images here: a snapshot of a server's disk is the only image
// of one's own. So an image is written to the disk of a temporary server, which is
// then kept as a snapshot (upload.go). Another one makes the file system of a volume for
// the state (state.go). What is checked is the contract with the
// published document of the API and with the SDK; nothing here has run against the
// service itself.
//
// Monitoring has metrics and no alerts, and is not here.
package hetzner

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers"
)

// DefaultLocation is where servers are made: Falkenstein, the first of the document's.
const DefaultLocation = "fsn1"

// Writer puts an image onto the disk that the machine at the other end of a
// connection runs from, or on any other that becomes its disk. It returns when the
// image was read back there and has the right digest, and when the machine was told
// to switch off; one that stays on is switched off.
//
// The connection is root's, on a stock Debian that has nothing of value, and its host
// key was verified.
type Writer func(ctx context.Context, c *ssh.Client, u providers.Upload) error

// Options of [New].
type Options struct {
	// Token is that of the project, with the right to write.
	Token providers.Secret
	// Account names the project in the journal. A token does not tell its project's
	// name, so that empty stands for the token's: what was left is found again only
	// with the same token then.
	Account string
	// Location is a place by its name, empty for [DefaultLocation].
	Location string
	// State is the size of the volume for the state that a server is deployed with, in
	// GiB, which is what the API means by GB: 0 is none, and the state is on the
	// server's own disk then and cannot move.
	State int
	// Writer is how an upload gets onto a disk.
	Writer Writer
	// Say is told of pauses and steps; nil is nobody.
	Say func(string)

	// Endpoint, Transport and SSHPort are other than Hetzner's in tests.
	Endpoint  string
	Transport http.RoundTripper
	SSHPort   int
}

// Provider is a project at Hetzner Cloud.
type Provider struct {
	opts   Options
	client *hcloud.Client
	pace   pace
	// grace is how long clearing up after a failure or a Ctrl-C may take.
	grace time.Duration
}

var (
	_ providers.Provider = (*Provider)(nil)
	_ providers.Mover    = (*Provider)(nil)
)

// New makes a provider. Nothing is sent yet.
func New(o Options) (*Provider, error) {
	if o.Token.IsZero() {
		return nil, fault.Input(errors.New("there is no token for Hetzner Cloud: make one with the right to write in the project's console, under Security"))
	}
	if o.State != 0 && (o.State < minState || o.State > maxState) {
		return nil, fault.Input(fmt.Errorf("a volume for the state has %d to %d GiB at Hetzner, and not %d", minState, maxState, o.State))
	}
	if o.Location == "" {
		o.Location = DefaultLocation
	}
	if o.SSHPort == 0 {
		o.SSHPort = 22
	}
	if o.Account == "" {
		// Twelve digits of the digest of 64 random characters tell nothing of them.
		digest := sha256.Sum256([]byte(o.Token.Reveal()))
		o.Account = "token-" + hex.EncodeToString(digest[:6])
	}
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = time.Minute // a request that hangs is sent again, or looked after
		o.Transport = t
	}
	options := []hcloud.ClientOption{
		hcloud.WithApplication("ingot", ""),
		// The SDK keeps the token out of its errors, and replaces it in what it
		// writes to a debug writer. It writes bodies there in full, though, user-data
		// and root passwords among them: it never gets one.
		hcloud.WithToken(o.Token.Reveal()),
		hcloud.WithRetryOpts(hcloud.RetryOpts{MaxRetries: 0}), // Weather's
		hcloud.WithHTTPClient(&http.Client{
			Transport: &providers.Weather{Base: o.Transport, Say: o.Say},
			// The API sends nobody elsewhere, and the token is for nobody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
	}
	if o.Endpoint != "" {
		options = append(options, hcloud.WithEndpoint(o.Endpoint))
	}
	o.Token = providers.Secret{} // the client has it
	return &Provider{opts: o, client: hcloud.NewClient(options...), pace: pace{250 * time.Millisecond, 5 * time.Second}, grace: time.Minute}, nil
}

// Name implements providers.Provider.
func (*Provider) Name() string { return "hetzner" }

// Account implements providers.Provider.
func (p *Provider) Account() string { return p.opts.Account }

func (p *Provider) say(format string, args ...any) {
	if p.opts.Say != nil {
		p.opts.Say(fmt.Sprintf(format, args...))
	}
}

// idOf is the value of the label that work is found by.
func idOf(e *providers.Entry) string {
	if e == nil {
		return strings.ToLower(rand.Text()[:20])
	}
	return e.ID
}

// labelText is what the value of a label may be: the document of the API.
var labelText = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?$`)

// labels are those given and more, in pairs of name and value.
func labels(given map[string]string, more ...string) (map[string]string, error) {
	all := map[string]string{}
	for name, value := range given {
		all[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	for name, value := range all {
		if value != "" && !labelText.MatchString(value) {
			return nil, fault.Input(fmt.Errorf("the label %s cannot be %q: at most 63 letters, digits, dots, dashes and underscores, the first and last a letter or digit", name, value))
		}
	}
	return all, nil
}
