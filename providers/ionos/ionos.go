package ionos

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// Name is the provider's, as on the command line.
const Name = "ionos"

// DefaultEndpoint is the API's.
const DefaultEndpoint = sdk.DefaultIonosServerUrl

// DefaultDatacenter is the virtual data center that servers are in when none is named.
const DefaultDatacenter = "ingot"

// Options of [New].
type Options struct {
	// Endpoint is the API's, ending with "/cloudapi/v6"; empty is [DefaultEndpoint].
	Endpoint string
	// User and Password are needed to upload. Token is taken for the API when there is
	// one.
	User     string
	Password providers.Secret
	Token    providers.Secret
	// Contract is the contract's number; needed when a user has several.
	Contract string
	// Location is where images and servers are, such as "de/fra".
	Location string
	// Datacenter is the name of the virtual data center; it is made when it is not
	// there. Empty is [DefaultDatacenter].
	Datacenter string
	// FTP is the server for images, HOST or HOST:PORT; empty is the location's.
	FTP string
	// Roots are who may vouch for certificates; nil is this system's.
	Roots *x509.CertPool
	// ReadBack fetches an uploaded image again and hashes it.
	ReadBack bool
	// IPv6 gives the network IPv6; not all locations have it.
	IPv6 bool
	// Reserve takes a reserved address, which costs extra and can move from one server
	// to another.
	Reserve bool
	// State is how large a server's volume for its state is, in GB, which are GiB here;
	// 0 is none: the state is on the disk that the server starts from, and cannot move.
	State int
	// Say is told of pauses that a person would notice; nil is nobody.
	Say func(string)
}

// Provider is one contract, seen from one location. It implements
// [providers.Provider] and [providers.Mover].
type Provider struct {
	opts    *Options
	api     *sdk.APIClient
	account string
	pace    pace
	reach   dialer // the server for images; tests have another
	// format makes the file system for the state; most tests have a smaller one.
	format func(ctx context.Context, dir string) (*os.File, error)
}

// pace is how long things are waited for; tests have less of it.
type pace struct {
	poll time.Duration // between two looks at something that takes seconds
	slow time.Duration // at something that takes minutes
	// looks is how often something is looked for whose answer was lost.
	looks int
	// request is how long one request may take to be carried out. Making a server with
	// a disk takes minutes.
	request time.Duration
	// image is how long an uploaded image may take to appear: "minutes", by IONOS'
	// documentation, and longer for large ones.
	image time.Duration
	// idle is how long an FTP server may say and take nothing.
	idle time.Duration
}

var usual = pace{
	poll: 2 * time.Second, slow: 10 * time.Second, looks: 10,
	request: 20 * time.Minute, image: time.Hour, idle: 2 * time.Minute,
}

var (
	_ providers.Provider  = (*Provider)(nil)
	_ providers.Mover     = (*Provider)(nil)
	_ providers.Forgetter = (*Provider)(nil)
)

// locations are "de/fra" and "de/fra/2".
var locations = regexp.MustCompile(`^[a-z]{2}/[a-z]{3}(/[0-9])?$`)

// New checks the options and the credentials and asks which contract they are for.
func New(ctx context.Context, o Options) (*Provider, error) { return newProvider(ctx, o, usual) }

func newProvider(ctx context.Context, o Options, pc pace) (*Provider, error) {
	if o.Endpoint == "" {
		o.Endpoint = DefaultEndpoint
	}
	if o.Datacenter == "" {
		o.Datacenter = DefaultDatacenter
	}
	if err := o.check(); err != nil {
		return nil, fault.Input(err)
	}
	if o.FTP == "" {
		o.FTP = ftpHost(o.Location)
	}
	p := &Provider{opts: &o, api: newClient(o), pace: pc, reach: new(net.Dialer).DialContext, format: providers.StateFile}
	contract, err := p.contract(ctx)
	if err != nil {
		return nil, err
	}
	p.account = "contract " + contract + " in " + o.Location
	return p, nil
}

func (o Options) check() error {
	switch {
	case !locations.MatchString(o.Location):
		return fmt.Errorf("the location %q is none of IONOS': it looks like \"de/fra\" or \"de/fra/2\"", o.Location)
	case o.Token.IsZero() && (o.User == "" || o.Password.IsZero()):
		return errors.New("IONOS wants a user name and a password; a token alone is enough for all but uploads")
	case (o.User == "") != o.Password.IsZero():
		return errors.New("a user name and a password go together")
	case o.State < 0 || o.State > maxState:
		return fmt.Errorf("a volume for the state has 1 to %d GB, and not %d", maxState, o.State)
	}
	if o.Contract != "" {
		if _, err := strconv.ParseInt(o.Contract, 10, 32); err != nil {
			return fmt.Errorf("the contract %q is not a number", o.Contract)
		}
	}
	return checkEndpoint(o.Endpoint)
}

// checkEndpoint wants https, so that nobody on the way reads the password; a service
// on this machine may go without.
func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return errors.New("the endpoint is not a URL such as " + DefaultEndpoint)
	}
	if !strings.HasSuffix(u.Path, sdk.DefaultIonosBasePath) {
		return fmt.Errorf("the endpoint %s does not end with %s", endpoint, sdk.DefaultIonosBasePath)
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && (err != nil || !addr.IsLoopback()) {
		return fmt.Errorf("the endpoint %s would be sent the credentials in clear: use https", endpoint)
	}
	return nil
}

// ftpHost is a location's: "de/fra/2" has ftp-fra-2.ionos.com (ionosctl, image upload).
func ftpHost(location string) string {
	_, place, _ := strings.Cut(location, "/")
	return net.JoinHostPort("ftp-"+strings.ReplaceAll(place, "/", "-")+".ionos.com", ftpPort)
}

// Name implements [providers.Provider].
func (*Provider) Name() string { return Name }

// Account implements [providers.Provider]: it is "contract 31234567 in de/fra". What is
// made is looked for in one location.
func (p *Provider) Account() string { return p.account }

// Format shows the account: package fmt would show the password, as it asks nothing
// that is in a field that is not exported how it wants to be shown.
func (p Provider) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Name+", "+p.account) }

// contract asks for the number of the contract.
func (p *Provider) contract(ctx context.Context) (string, error) {
	list, response, err := p.api.ContractResourcesApi.ContractsGet(ctx).Depth(1).Execute()
	if err := checkAnswer("ask for the contract", response, err); err != nil {
		return "", err
	}
	var numbers []string
	for _, c := range deref(list.Items) {
		if c.Properties != nil && c.Properties.ContractNumber != nil {
			numbers = append(numbers, strconv.FormatInt(*c.Properties.ContractNumber, 10))
		}
	}
	for _, n := range numbers {
		if n == p.opts.Contract || p.opts.Contract == "" && len(numbers) == 1 {
			return n, nil
		}
	}
	switch {
	case len(numbers) == 0:
		return "", fault.Provider(errors.New("IONOS lists no contract for these credentials"))
	case p.opts.Contract != "":
		return "", fault.Input(fmt.Errorf("these credentials are not for the contract %s but for %s", p.opts.Contract, strings.Join(numbers, ", ")))
	}
	return "", fault.Input(fmt.Errorf("these credentials are for the contracts %s: say which one", strings.Join(numbers, ", ")))
}

// deref is what a pointer of the SDK points to, or nothing.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func ptr[T any](v T) *T { return &v }
