package openstack

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"

	"ingot/fault"
	"ingot/providers"
)

// access is what is needed to log in.
type access struct {
	auth     gophercloud.AuthOptions
	endpoint gophercloud.EndpointOpts
	tls      *tls.Config
	hide     *scrubber
}

// The variables that hold secrets; each may be a file or a command, too.
const (
	passwordVar          = "OS_PASSWORD"
	applicationSecretVar = "OS_APPLICATION_CREDENTIAL_SECRET"
	tokenVar             = "OS_TOKEN"
)

// findAccess reads clouds.yaml when it is told of a cloud, else the environment.
func findAccess(ctx context.Context, o Options) (access, error) {
	cloud := cmp.Or(o.Cloud, os.Getenv("OS_CLOUD"))
	var options []clouds.ParseOption
	var file string
	var err error
	if cloud != "" {
		file, err = cloudsFile()
		options = []clouds.ParseOption{clouds.WithCloudName(cloud), clouds.WithLocations(file)}
	} else {
		options, err = fromEnvironment()
	}
	if err != nil {
		return access{}, fault.Input(err)
	}
	secret, err := findSecret(ctx, cloud == "")
	if err != nil {
		return access{}, err
	}
	a, err := parse(append(options, secret...))
	if err != nil {
		return access{}, fault.Input(fmt.Errorf("the cloud %q: %w", cloud, err))
	}
	if a.auth.IdentityEndpoint == "" {
		return access{}, fault.Input(fmt.Errorf("the cloud %q has no auth_url", cloud))
	}
	if file != "" {
		if err := checkModes(file, a.hide.secrets); err != nil {
			return access{}, fault.Input(err)
		}
	}
	return a, nil
}

// parse calls the SDK, which takes an auth section for granted.
func parse(options []clouds.ParseOption) (a access, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it has no auth section; see the page about clouds.yaml of OpenStack's documentation")
		}
	}()
	if a.auth, a.endpoint, a.tls, err = clouds.Parse(options...); err != nil {
		return a, err
	}
	// A token cannot be made new without what it was made of.
	a.auth.AllowReauth = a.auth.TokenID == ""
	a.hide = &scrubber{}
	for _, secret := range []string{a.auth.Password, a.auth.ApplicationCredentialSecret, a.auth.TokenID} {
		if secret != "" {
			a.hide.secrets = append(a.hide.secrets, secret)
		}
	}
	return a, nil
}

// fromEnvironment makes the one cloud of the variables that an openrc file sets. The
// SDK's own function for that knows no domains of users and projects.
func fromEnvironment() ([]clouds.ParseOption, error) {
	if os.Getenv("OS_AUTH_URL") == "" {
		return nil, errors.New("no cloud is named; set OS_CLOUD to a name of clouds.yaml, or source the openrc file of your project, which sets OS_AUTH_URL and more")
	}
	one := clouds.Cloud{
		AuthInfo: &clouds.AuthInfo{
			AuthURL:                   os.Getenv("OS_AUTH_URL"),
			Username:                  os.Getenv("OS_USERNAME"),
			UserID:                    cmp.Or(os.Getenv("OS_USER_ID"), os.Getenv("OS_USERID")),
			ApplicationCredentialID:   os.Getenv("OS_APPLICATION_CREDENTIAL_ID"),
			ApplicationCredentialName: os.Getenv("OS_APPLICATION_CREDENTIAL_NAME"),
			ProjectName:               cmp.Or(os.Getenv("OS_PROJECT_NAME"), os.Getenv("OS_TENANT_NAME")),
			ProjectID:                 cmp.Or(os.Getenv("OS_PROJECT_ID"), os.Getenv("OS_TENANT_ID")),
			UserDomainName:            os.Getenv("OS_USER_DOMAIN_NAME"),
			UserDomainID:              os.Getenv("OS_USER_DOMAIN_ID"),
			ProjectDomainName:         os.Getenv("OS_PROJECT_DOMAIN_NAME"),
			ProjectDomainID:           os.Getenv("OS_PROJECT_DOMAIN_ID"),
			DomainName:                os.Getenv("OS_DOMAIN_NAME"),
			DomainID:                  cmp.Or(os.Getenv("OS_DOMAIN_ID"), os.Getenv("OS_DEFAULT_DOMAIN")),
		},
		CACertFile:     os.Getenv("OS_CACERT"),
		ClientCertFile: os.Getenv("OS_CERT"),
		ClientKeyFile:  os.Getenv("OS_KEY"),
	}
	if one.AuthInfo.ApplicationCredentialID != "" {
		// It says for which project it is, and must not be told.
		one.AuthInfo.ProjectID, one.AuthInfo.ProjectName = "", ""
	}
	text, err := json.Marshal(clouds.Clouds{Clouds: map[string]clouds.Cloud{"environment": one}}) // is YAML, too
	if err != nil {
		return nil, err
	}
	return []clouds.ParseOption{clouds.WithCloudName("environment"), clouds.WithCloudsYAML(bytes.NewReader(text))}, nil
}

// findSecret takes the secret of the environment, which must be there unless
// clouds.yaml may have it.
func findSecret(ctx context.Context, must bool) ([]clouds.ParseOption, error) {
	kinds := []struct {
		name string
		set  func(string) clouds.ParseOption
	}{
		{applicationSecretVar, clouds.WithApplicationCredentialSecret},
		{tokenVar, clouds.WithToken},
		{passwordVar, clouds.WithPassword},
	}
	for _, kind := range kinds {
		if !isSet(kind.name) {
			continue
		}
		secret, err := providers.Credential(ctx, kind.name)
		if err != nil {
			return nil, err
		}
		return []clouds.ParseOption{kind.set(secret.Reveal())}, nil
	}
	if !must {
		return nil, nil
	}
	wanted := passwordVar
	if os.Getenv("OS_APPLICATION_CREDENTIAL_ID") != "" || os.Getenv("OS_APPLICATION_CREDENTIAL_NAME") != "" {
		wanted = applicationSecretVar
	}
	_, err := providers.Credential(ctx, wanted) // says how to set it
	return nil, err
}

func isSet(name string) bool {
	return os.Getenv(name) != "" || os.Getenv(name+"_FILE") != "" || os.Getenv(name+"_COMMAND") != ""
}

// cloudsFile looks where the SDK and the other clients look.
func cloudsFile() (string, error) {
	if file := os.Getenv("OS_CLIENT_CONFIG_FILE"); file != "" {
		return file, nil
	}
	var places []string
	if dir, err := os.Getwd(); err == nil {
		places = append(places, dir)
	}
	if dir, err := os.UserConfigDir(); err == nil {
		places = append(places, filepath.Join(dir, "openstack"))
	}
	for _, dir := range append(places, "/etc/openstack") {
		file := filepath.Join(dir, "clouds.yaml")
		if _, err := os.Stat(file); err == nil {
			return file, nil
		}
	}
	return "", errors.New("there is no clouds.yaml here, in ~/.config/openstack or in /etc/openstack; set OS_CLIENT_CONFIG_FILE to it")
}

// checkModes wants files that hold a secret to be their owner's alone.
func checkModes(file string, secrets []string) error {
	for _, name := range []string{file, filepath.Join(filepath.Dir(file), "secure.yaml")} {
		content, err := os.ReadFile(name)
		if err != nil {
			continue // the SDK has said what had to be said
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		for _, secret := range secrets {
			if bytes.Contains(content, []byte(secret)) && info.Mode().Perm()&0o077 != 0 {
				return fmt.Errorf("others may read or write %s, and it holds a secret: chmod 600 it, and make new credentials if others could log in here", name)
			}
		}
	}
	return nil
}

// login gets a token.
func (a access) login(ctx context.Context, o Options) (*gophercloud.ProviderClient, error) {
	base := o.Transport
	if base == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = a.tls
		base = t
	}
	// Not with the SDK's option for TLS: it puts another transport in this one's place.
	weather := &providers.Weather{Base: base, Say: o.Say}
	return config.NewProviderClient(ctx, a.auth, config.WithHTTPClient(http.Client{Transport: sized{weather}}))
}

// sized tells the length of a body that the SDK streams without saying it, and says
// that a context has ended in the words of package context: net/http says why it has,
// which nobody below knows what to make of.
type sized struct{ next http.RoundTripper }

type sizeKey struct{}

// withSize is for one request with a body of so many bytes.
func withSize(ctx context.Context, bytes int64) context.Context {
	return context.WithValue(ctx, sizeKey{}, bytes)
}

// RoundTrip implements http.RoundTripper.
func (s sized) RoundTrip(request *http.Request) (*http.Response, error) {
	if bytes, ok := request.Context().Value(sizeKey{}).(int64); ok && request.Method == http.MethodPut {
		request = request.Clone(request.Context())
		request.ContentLength = bytes
	}
	response, err := s.next.RoundTrip(request)
	if err != nil && request.Context().Err() != nil {
		err = request.Context().Err()
	}
	return response, err
}
