// Package openstack is a provider: an OpenStack cloud's glance keeps the images, its
// neutron is the firewall, its nova runs the servers and its cinder, where there is
// one, keeps their state. Where there is an aodh, it watches them by what ceilometer
// measures and gnocchi keeps.
//
// What is proven how: the tests run Debian's keystone, glance, neutron, placement, nova,
// cinder, gnocchi and aodh, real in all but the last step: neutron's mechanism driver,
// nova's hypervisor and cinder's storage are the ones that come with them for tests,
// which keep account of what they are told and do nothing. So images are kept for real;
// no packet is dropped there, no machine boots, and volumes are attached on paper only.
// Alarms go off for real, by numbers that a test writes in ceilometer's place.
// It was never run at a public cloud.
package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	sdk "github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"ingot/fault"
	"ingot/providers"
)

// Name is the provider's, as on the command line.
const Name = "openstack"

// Options of [New]. The zero value takes all from the environment.
type Options struct {
	// Cloud is a name of clouds.yaml. Empty is that of OS_CLOUD; without that the
	// variables OS_AUTH_URL, OS_USERNAME, … say all.
	Cloud string
	// Network is the name or the id of the one that servers are on. Empty is the
	// only one there is.
	Network string
	// ExternalNetwork is the name or the id of the one that servers get a floating
	// IP of. Empty is none: their address is one of Network.
	ExternalNetwork string
	// Flavor is the size of servers that ask for none. Empty is the smallest that
	// the image fits.
	Flavor string
	// MinDisk is the smallest disk that the machine can work on, in GiB; 0 is 5.
	MinDisk int
	// StateVolume is the size of a volume for /var, in GiB; 0 keeps /var on the
	// server's own disk, and it cannot be moved.
	StateVolume int
	// Transport carries the requests; nil is http.DefaultTransport with the
	// certificates of clouds.yaml.
	Transport http.RoundTripper
	// Say is told of long pauses; nil is nobody.
	Say func(string)
}

// defaultMinDisk is what the partitions need, in GiB: two slots of 2 GiB, the ESP,
// and 448 MiB for the rest and a small var make 4803 MiB.
const defaultMinDisk = 5

// Provider is one project of one cloud.
type Provider struct {
	options Options
	account string
	project string // its id
	hide    *scrubber

	image, network  *gophercloud.ServiceClient
	compute, volume *gophercloud.ServiceClient // nil where the cloud has none
	alarming        *gophercloud.ServiceClient // nil, too

	// poll is the pause between two looks at something that takes its time.
	poll time.Duration

	mu      sync.Mutex
	adopted map[string]bool // rules of others that do what one of ours shall
}

var (
	_ providers.Provider = (*Provider)(nil)
	_ providers.Mover    = (*Provider)(nil)
	_ providers.Monitor  = (*Provider)(nil)
)

// pollPause is the pause between two looks: a server takes half a minute.
const pollPause = 2 * time.Second

// New logs in.
func New(ctx context.Context, o Options) (*Provider, error) {
	access, err := findAccess(ctx, o)
	if err != nil {
		return nil, err
	}
	p := &Provider{options: o, hide: access.hide, poll: pollPause, adopted: map[string]bool{}}
	client, err := access.login(ctx, o)
	if err != nil {
		return nil, p.wrap("log in at "+access.auth.IdentityEndpoint, err)
	}
	p.hide.token = client.Token
	if p.project, err = projectOf(client); err != nil {
		return nil, err
	}
	p.account = access.auth.IdentityEndpoint + " project " + p.project
	return p, p.findServices(client, access.endpoint)
}

// projectOf is the id of the project that a token is for.
func projectOf(client *gophercloud.ProviderClient) (string, error) {
	var project *tokens.Project
	var err error
	switch result := client.GetAuthResult().(type) {
	case tokens.CreateResult:
		project, err = result.ExtractProject()
	case tokens.GetResult:
		project, err = result.ExtractProject()
	}
	if err != nil || project == nil {
		return "", fault.Input(errors.New("these credentials are for no project; set OS_PROJECT_NAME and OS_PROJECT_DOMAIN_NAME, or use an application credential"))
	}
	return project.ID, nil
}

// findServices looks the services up now: the SDK asks them for their versions, and
// does it with the context of the login.
func (p *Provider) findServices(client *gophercloud.ProviderClient, where gophercloud.EndpointOpts) error {
	for _, service := range []struct {
		name     string
		client   **gophercloud.ServiceClient
		find     func(*gophercloud.ProviderClient, gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error)
		optional bool
	}{
		{"image", &p.image, sdk.NewImageV2, false},
		{"network", &p.network, sdk.NewNetworkV2, false},
		{"compute", &p.compute, sdk.NewComputeV2, true},
		{"block storage", &p.volume, sdk.NewBlockStorageV3, true},
		{"alarming", &p.alarming, newAlarming, true},
	} {
		found, err := service.find(client, where)
		if isNotInCatalog(err) {
			if service.optional {
				continue
			}
			return fault.Input(fmt.Errorf("this cloud has no %s service in the region %q; set OS_REGION_NAME to one that has", service.name, where.Region))
		}
		if err != nil {
			return p.wrap("find the "+service.name+" service", err)
		}
		*service.client = found
	}
	return nil
}

// needCompute is for what servers are needed for.
func (p *Provider) needCompute() error {
	if p.compute == nil {
		return fault.Input(errors.New("this cloud has no compute service in this region; set OS_REGION_NAME to one that has"))
	}
	return nil
}

// Name implements providers.Provider.
func (p *Provider) Name() string { return Name }

// Account is the address of the cloud and the id of the project.
func (p *Provider) Account() string { return p.account }

// Format implements fmt.Formatter: the SDK's clients hold credentials.
func (p *Provider) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%s, %s", Name, p.account) }

// await looks until it is done, with pauses between.
func (p *Provider) await(ctx context.Context, what string, deadline time.Duration, look func(context.Context) (bool, error)) error {
	limited, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	for {
		done, err := look(limited)
		if done || err != nil && limited.Err() == nil {
			return err
		}
		select {
		case <-time.After(p.poll):
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fault.Provider(fmt.Errorf("%s takes more than %s; see how it stands and try again", what, deadline))
		}
	}
}
