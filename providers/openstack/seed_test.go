package openstack

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/gophercloud/gophercloud/v2"
	sdk "github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/endpoints"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	identity "github.com/gophercloud/gophercloud/v2/openstack/identity/v3/services"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

const (
	authURL       = "http://127.0.0.1:5000/v3"
	region        = "here"
	smithPassword = "smith-password-4711"
)

// cloudsYAML has the administrator and an ordinary user, "smith" of the project
// "shop".
const cloudsYAML = `clouds:
  admin: {region_name: here, auth: {auth_url: "http://127.0.0.1:5000/v3", username: admin, password: admin-password, project_name: admin, user_domain_id: default, project_domain_id: default}}
  smith: {region_name: here, auth: {auth_url: "http://127.0.0.1:5000/v3", username: smith, password: ` + smithPassword + `, project_name: shop, user_domain_id: default, project_domain_id: default}}
  both: {region_name: here, auth: {auth_url: "http://127.0.0.1:5000/v3", username: smith, project_name: shop, user_domain_id: default, project_domain_id: default}}
  empty: {region_name: here}
`

// as logs in with the SDK alone, to be somebody else than Ingot.
func as(ctx context.Context, user, password, project string) (*gophercloud.ProviderClient, error) {
	return sdk.AuthenticatedClient(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: authURL, Username: user, Password: password, DomainID: "default", TenantName: project,
	})
}

var here = gophercloud.EndpointOpts{Region: region}

// seedIdentity makes the catalog, the project and the user.
func (c *cloud) seedIdentity(ctx context.Context) error {
	if err := os.WriteFile(c.cloudsFile(), []byte(cloudsYAML), 0o600); err != nil {
		return err
	}
	admin, err := as(ctx, "admin", "admin-password", "admin")
	if err != nil {
		return err
	}
	keystone, err := sdk.NewIdentityV3(admin, here)
	if err != nil {
		return err
	}
	for _, s := range services[1:] {
		if err := s.offer(ctx, keystone); err != nil {
			return err
		}
	}
	shop, err := projects.Create(ctx, keystone, projects.CreateOpts{Name: "shop", DomainID: "default"}).Extract()
	if err != nil {
		return err
	}
	smith, err := users.Create(ctx, keystone, users.CreateOpts{Name: "smith", DomainID: "default", Password: smithPassword}).Extract()
	if err != nil {
		return err
	}
	pages, err := roles.List(keystone, roles.ListOpts{Name: "member"}).AllPages(ctx)
	if err != nil {
		return err
	}
	member, err := roles.ExtractRoles(pages)
	if err != nil || len(member) != 1 {
		return fmt.Errorf("%d roles called member, %v", len(member), err)
	}
	return roles.Assign(ctx, keystone, member[0].ID, roles.AssignOpts{UserID: smith.ID, ProjectID: shop.ID}).ExtractErr()
}

// offer puts a service into the catalog.
func (s service) offer(ctx context.Context, keystone *gophercloud.ServiceClient) error {
	made, err := identity.Create(ctx, keystone, identity.CreateOpts{Type: s.kind, Extra: map[string]any{"name": s.name}}).Extract()
	if err != nil {
		return err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d%s", s.port, s.path)
	return endpoints.Create(ctx, keystone, endpoints.CreateOpts{Availability: gophercloud.AvailabilityPublic, Region: region, Name: s.name, URL: url, ServiceID: made.ID}).Err
}

// seed makes what operators make: an external network and sizes; and what a project
// has before it meets Ingot: a network behind a router.
func (c *cloud) seed(ctx context.Context) error {
	admin, err := as(ctx, "admin", "admin-password", "admin")
	if err != nil {
		return err
	}
	neutron, err := sdk.NewNetworkV2(admin, here)
	if err != nil {
		return err
	}
	outside, yes := true, true
	network, err := networks.Create(ctx, neutron, provider.CreateOptsExt{
		CreateOptsBuilder: external.CreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: "outside", Shared: &yes}, External: &outside},
		Segments:          []provider.Segment{{NetworkType: "flat", PhysicalNetwork: "wire"}},
	}).Extract()
	if err != nil {
		return err
	}
	no := false
	if err := subnets.Create(ctx, neutron, subnets.CreateOpts{NetworkID: network.ID, IPVersion: 4, CIDR: "203.0.113.0/24", EnableDHCP: &no}).Err; err != nil {
		return err
	}
	nova, err := sdk.NewComputeV2(admin, here)
	if err != nil {
		return err
	}
	for _, size := range []struct {
		name            string
		ram, disk, cpus int
	}{{"tiny", 512, 6, 1}, {"flat", 1024, 1, 1}, {"small", 1024, 6, 1}, {"large", 2048, 20, 2}} {
		if err := flavors.Create(ctx, nova, flavors.CreateOpts{Name: size.name, RAM: size.ram, Disk: &size.disk, VCPUs: size.cpus}).Err; err != nil {
			return err
		}
	}
	return c.seedProject(ctx, network.ID)
}

func (c *cloud) seedProject(ctx context.Context, outside string) error {
	smith, err := as(ctx, "smith", smithPassword, "shop")
	if err != nil {
		return err
	}
	neutron, err := sdk.NewNetworkV2(smith, here)
	if err != nil {
		return err
	}
	inside, err := networks.Create(ctx, neutron, networks.CreateOpts{Name: "inside"}).Extract()
	if err != nil {
		return err
	}
	subnet, err := subnets.Create(ctx, neutron, subnets.CreateOpts{NetworkID: inside.ID, IPVersion: 4, CIDR: "10.0.0.0/24"}).Extract()
	if err != nil {
		return err
	}
	router, err := routers.Create(ctx, neutron, routers.CreateOpts{Name: "door", GatewayInfo: &routers.GatewayInfo{NetworkID: outside}}).Extract()
	if err != nil {
		return err
	}
	return routers.AddInterface(ctx, neutron, router.ID, routers.AddInterfaceOpts{SubnetID: subnet.ID}).Err
}

// watch counts requests and may play with them.
type watch struct {
	next http.RoundTripper
	// before may refuse a request, after an answer.
	before, after func(*http.Request) error
}

func (w watch) RoundTrip(request *http.Request) (*http.Response, error) {
	next := w.next
	if next == nil {
		next = http.DefaultTransport
	}
	if w.before != nil {
		if err := w.before(request); err != nil {
			return nil, err
		}
	}
	response, err := next.RoundTrip(request)
	if err == nil && w.after != nil {
		if failed := w.after(request); failed != nil {
			response.Body.Close()
			return nil, failed
		}
	}
	return response, err
}
