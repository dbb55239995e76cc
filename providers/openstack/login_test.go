package openstack

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	sdk "github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/applicationcredentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/quotas"

	"ingot/fault"
	"ingot/providers"
)

// environment sets the variables of an openrc file, and no others.
func environment(t *testing.T, more map[string]string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "OS_") {
			t.Setenv(name, "")
		}
	}
	all := map[string]string{
		"OS_AUTH_URL": authURL, "OS_REGION_NAME": region, "OS_USERNAME": "smith", "OS_PROJECT_NAME": "shop",
		"OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default", "OS_PASSWORD": smithPassword,
	}
	for name, value := range more {
		all[name] = value
	}
	for name, value := range all {
		t.Setenv(name, value)
	}
}

func TestLogin(t *testing.T) {
	c := needCloud(t)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(smithPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(open, []byte(cloudsYAML), 0o644); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(plain, []byte(strings.ReplaceAll(cloudsYAML, smithPassword, "elsewhere")), 0o644); err != nil {
		t.Fatal(err)
	}
	id, secret := applicationCredential(t)
	for _, test := range []struct {
		name string
		set  map[string]string
		want string // words of the error, empty is none
	}{
		{"environment", nil, ""},
		{"file", map[string]string{"OS_PASSWORD": "", "OS_PASSWORD_FILE": file}, ""},
		{"command", map[string]string{"OS_PASSWORD": "", "OS_PASSWORD_COMMAND": "echo " + smithPassword}, ""},
		{"application credential", map[string]string{"OS_USERNAME": "", "OS_PASSWORD": "", "OS_APPLICATION_CREDENTIAL_ID": id, "OS_APPLICATION_CREDENTIAL_SECRET_COMMAND": "echo " + secret}, ""},
		{"clouds.yaml", map[string]string{"OS_AUTH_URL": "", "OS_PASSWORD": "", "OS_CLOUD": "smith", "OS_CLIENT_CONFIG_FILE": c.cloudsFile()}, ""},
		{"clouds.yaml and a secret beside it", map[string]string{"OS_AUTH_URL": "", "OS_CLOUD": "both", "OS_CLIENT_CONFIG_FILE": c.cloudsFile()}, ""},
		{"clouds.yaml that others read", map[string]string{"OS_AUTH_URL": "", "OS_PASSWORD": "", "OS_CLOUD": "smith", "OS_CLIENT_CONFIG_FILE": open}, "chmod 600"},
		{"clouds.yaml that others read, without the secret", map[string]string{"OS_AUTH_URL": "", "OS_CLOUD": "both", "OS_CLIENT_CONFIG_FILE": plain}, ""},
		{"a cloud without auth", map[string]string{"OS_PASSWORD": "", "OS_CLOUD": "empty", "OS_CLIENT_CONFIG_FILE": c.cloudsFile()}, "no auth section"},
		{"an unknown cloud", map[string]string{"OS_PASSWORD": "", "OS_CLOUD": "nimbus", "OS_CLIENT_CONFIG_FILE": c.cloudsFile()}, `"nimbus" not found`},
		{"no cloud at all", map[string]string{"OS_AUTH_URL": ""}, "source the openrc file"},
		{"no password", map[string]string{"OS_PASSWORD": ""}, "OS_PASSWORD_FILE"},
		{"no application secret", map[string]string{"OS_PASSWORD": "", "OS_APPLICATION_CREDENTIAL_ID": "x"}, "OS_APPLICATION_CREDENTIAL_SECRET_FILE"},
		{"a wrong password", map[string]string{"OS_PASSWORD": "swordfish-" + smithPassword}, "credentials are wrong or have expired"},
		{"no such project", map[string]string{"OS_PROJECT_NAME": "shed"}, "credentials are wrong"},
		{"no project", map[string]string{"OS_PROJECT_NAME": "", "OS_PROJECT_DOMAIN_NAME": ""}, "are for no project"},
		{"another region", map[string]string{"OS_REGION_NAME": "there"}, `no image service in the region "there"`},
		{"nobody there", map[string]string{"OS_AUTH_URL": "http://127.0.0.1:1/v3"}, "log in at http://127.0.0.1:1/v3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			environment(t, test.set)
			p, err := New(t.Context(), Options{})
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if p.Account() != authURL+" project "+p.project || len(p.project) != 32 {
					t.Errorf("the account is %q", p.Account())
				}
				hides(t, fmt.Sprintf("%v %+v %#v %s", p, p, p, struct{ P *Provider }{p}), secret)
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("the error is %v", err)
			}
			if kind := fault.Of(err); kind != fault.OfInput && test.name != "nobody there" {
				t.Errorf("it is not the input's fault: %v", err)
			}
			hides(t, fmt.Sprintf("%v %+v %#v", err, err, err), secret)
		})
	}
}

func hides(t *testing.T, text, secret string) {
	t.Helper()
	for _, word := range []string{smithPassword, secret} {
		if word != "" && strings.Contains(text, word) {
			t.Errorf("a secret is in %q", text)
		}
	}
}

func smithsKeystone(t *testing.T) (*gophercloud.ServiceClient, string) {
	t.Helper()
	smith, err := as(t.Context(), "smith", smithPassword, "shop")
	if err != nil {
		t.Fatal(err)
	}
	keystone, err := sdk.NewIdentityV3(smith, here)
	if err != nil {
		t.Fatal(err)
	}
	user, err := smith.GetAuthResult().(tokens.CreateResult).ExtractUser()
	if err != nil {
		t.Fatal(err)
	}
	return keystone, user.ID
}

func applicationCredential(t *testing.T) (id, secret string) {
	t.Helper()
	keystone, user := smithsKeystone(t)
	made, err := applicationcredentials.Create(t.Context(), keystone, user, applicationcredentials.CreateOpts{Name: "for " + t.Name()}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := applicationcredentials.Delete(context.Background(), keystone, user, made.ID).ExtractErr(); err != nil {
			t.Error(err)
		}
	})
	return made.ID, made.Secret
}

// A token that has expired is made new, once; a user that is gone is said to be.
func TestExpired(t *testing.T) {
	c := needCloud(t)
	var logins atomic.Int64
	p := c.open(t, Options{Transport: watch{before: func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/auth/tokens") {
			logins.Add(1)
		}
		return nil
	}}})
	admin, err := as(t.Context(), "admin", "admin-password", "admin")
	if err != nil {
		t.Fatal(err)
	}
	keystone, err := sdk.NewIdentityV3(admin, here)
	if err != nil {
		t.Fatal(err)
	}
	_, user := smithsKeystone(t)
	expire := func() { p.image.SetToken("gAAAAAB-of-yesterday") }
	logins.Store(0)
	expire()
	if _, err := p.Images(t.Context()); err != nil || logins.Load() != 1 {
		t.Errorf("%v after %d logins", err, logins.Load())
	}
	expire()
	enable := func(on bool) {
		t.Helper()
		if err := users.Update(context.Background(), keystone, user, users.UpdateOpts{Enabled: &on}).Err; err != nil {
			t.Fatal(err)
		}
	}
	enable(false)
	defer enable(true)
	logins.Store(0)
	_, err = p.Images(t.Context())
	if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "have expired") || logins.Load() != 1 {
		t.Errorf("%v after %d logins", err, logins.Load())
	}
	hides(t, fmt.Sprintf("%v %+v %#v", err, err, err), p.image.Token())
}

// A quota that is used up is the account's, and the message says what to do.
func TestQuota(t *testing.T) {
	c := needCloud(t)
	p := c.open(t, Options{Network: "inside"})
	admin, err := as(t.Context(), "admin", "admin-password", "admin")
	if err != nil {
		t.Fatal(err)
	}
	nova, err := sdk.NewComputeV2(admin, here)
	if err != nil {
		t.Fatal(err)
	}
	neutron, err := sdk.NewNetworkV2(admin, here)
	if err != nil {
		t.Fatal(err)
	}
	_, e := journalFor(t, p)
	collect(t, p, e)
	image, err := p.Upload(t.Context(), picture(e, 64<<10))
	if err != nil {
		t.Fatal(err)
	}
	none, many := 0, 100
	for _, limit := range []struct {
		name string
		set  func(int) error
	}{
		{"security groups", func(n int) error {
			return quotas.Update(context.Background(), neutron, p.project, quotas.UpdateOpts{SecurityGroup: &n}).Err
		}},
		{"servers", func(n int) error {
			return quotasets.Update(context.Background(), nova, p.project, quotasets.UpdateOpts{Instances: &n, Force: true}).Err
		}},
	} {
		t.Run(limit.name, func(t *testing.T) {
			if err := limit.set(none); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := limit.set(many); err != nil {
					t.Error(err)
				}
			}()
			_, err := p.Deploy(t.Context(), machine("claw", image, e, wireguard))
			if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "ask for a larger quota") {
				t.Error(err)
			}
		})
	}
}

// Names that come from files and the cloud are not trusted to be short or harmless.
func TestMarks(t *testing.T) {
	t.Parallel()
	m := mark{strings.Repeat("i", 20), strings.Repeat("s", 63)}
	if text := m.text(); len(text) > maxDescription {
		t.Errorf("%d characters: %s", len(text), text)
	}
	for _, m := range []mark{m, {"", "claw"}, {"abc", ""}} {
		if got, ok := readMark(m.text()); !ok || got != m {
			t.Errorf("%+v became %+v, %v", m, got, ok)
		}
		if !m.hasMark(m.text()) {
			t.Errorf("%+v is not its own", m)
		}
	}
	for _, text := range []string{"", "made by Ingot", "not " + m.text(), m.text() + " and more", "made by Ingot; ingot-id=a ingot-server=b c"} {
		if got, ok := readMark(text); ok {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
	if !sameLabels(map[string]string{"a": "b", providers.LabelID: "1"}, map[string]string{"a": "b", providers.LabelID: "2"}) || sameLabels(map[string]string{"a": "b"}, nil) {
		t.Error("labels are compared wrongly")
	}
}
