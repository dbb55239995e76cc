package assay

import (
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"ingot/qemu-tests/vm"
)

// cloud is a provider as a machine of its sees it: what DMI says, and a metadata
// service with its own path and whims.
type cloud struct {
	name   string
	smbios []string // values of -smbios
	// serve answers; what is asked in another way is none of its business.
	serve func(w http.ResponseWriter, r *http.Request, config []byte) bool
}

// The paths, headers and answers are those of Ignition's own providers
// (internal/providers of Ignition 2.27), the services' refusals those of the
// providers' documents. Hetzner has a test of its own, with its network.
var clouds = []cloud{
	{"openstack", []string{"type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova"}, plain("/openstack/latest/user_data")},
	{"aws", []string{"type=1,manufacturer=Amazon EC2,product=t3.micro"}, withToken(
		"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "/latest/user-data", "X-aws-ec2-metadata-token", same)},
	{"gcp", []string{"type=1,manufacturer=Google,product=Google Compute Engine"},
		withHeader("/computeMetadata/v1/instance/attributes/user-data", "Metadata-Flavor", "Google", same)},
	{"digitalocean", []string{"type=1,manufacturer=DigitalOcean,product=Droplet"}, plain("/metadata/v1/user-data")},
	{"vultr", []string{"type=1,manufacturer=Vultr,product=VC2"}, plain("/user-data/user-data")},
	{"upcloud", []string{"type=1,manufacturer=UpCloud,product=UpCloud"}, plain("/metadata/v1/user_data")},
	{"exoscale", []string{"type=1,manufacturer=Exoscale,product=Exoscale Compute Platform"}, plain("/1.0/user-data")},
	{"akamai", []string{"type=1,manufacturer=Akamai,product=Linode"}, withToken(
		"/v1/token", "Metadata-Token-Expiry-Seconds", "/v1/user-data", "Metadata-Token", inBase64)},
	{"azure", []string{"type=1,manufacturer=Microsoft Corporation,product=Virtual Machine", "type=3,asset=7783-7084-3265-9085-8269-3286-77"},
		withHeader("/metadata/instance/compute/userData", "Metadata", "true", inBase64)},
	{"scaleway", []string{"type=1,manufacturer=Scaleway,product=SCW-DEV1-S"}, fromLowPort},
}

type encoding func([]byte) []byte

func same(b []byte) []byte { return b }

func inBase64(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) }

func plain(path string) func(http.ResponseWriter, *http.Request, []byte) bool {
	return withHeader(path, "", "", same)
}

// withHeader refuses a request without a header, which a proxy or a browser that was
// led here would not send.
func withHeader(path, name, value string, encode encoding) func(http.ResponseWriter, *http.Request, []byte) bool {
	return func(w http.ResponseWriter, r *http.Request, config []byte) bool {
		if r.Method != http.MethodGet || r.URL.Path != path {
			return false
		}
		if name != "" && r.Header.Get(name) != value {
			http.Error(w, "a header is missing", http.StatusForbidden)
			return true
		}
		_, _ = w.Write(encode(config))
		return true
	}
}

// withToken answers whoever has fetched a token, for which a lifetime must be said.
func withToken(tokenPath, lifetime, path, header string, encode encoding) func(http.ResponseWriter, *http.Request, []byte) bool {
	const token = "c2VzYW1l"
	return func(w http.ResponseWriter, r *http.Request, config []byte) bool {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == tokenPath:
			if n, err := strconv.Atoi(r.Header.Get(lifetime)); err != nil || n < 1 {
				http.Error(w, "for how long?", http.StatusBadRequest)
				return true
			}
			_, _ = io.WriteString(w, token)
		case r.Method == http.MethodGet && r.URL.Path == path:
			if r.Header.Get(header) != token {
				http.Error(w, "no token", http.StatusUnauthorized)
				return true
			}
			_, _ = w.Write(encode(config))
		default:
			return false
		}
		return true
	}
}

// fromLowPort answers root only, which a port below 1024 proves.
func fromLowPort(w http.ResponseWriter, r *http.Request, config []byte) bool {
	if r.URL.Path != "/user_data/cloud-init" {
		return false
	}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || from.Port() >= 1024 {
		http.Error(w, "not from a privileged port", http.StatusForbidden)
		return true
	}
	_, _ = w.Write(config)
	return true
}

// The one image at each provider: it finds its config and answers in the tunnel. One
// of them, which the seed picks; make thorough asks all.
func TestClouds(t *testing.T) {
	b := image(t)
	turn(t, b, 5)
	one := number(t, seed(b)) / turns % uint64(len(clouds))
	for i, c := range clouds {
		t.Run(c.name, func(t *testing.T) {
			if !*thorough && uint64(i) != one {
				t.Skip("it is another provider's turn; make thorough asks all")
			}
			lab, id := newLab(t, b)
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !c.serve(w, r, id.Instance) {
					http.NotFound(w, r)
				}
			})
			serve := lab.Internet.SetMetadata
			if c.name == "scaleway" { // the only one with an address of its own
				serve = func(h http.Handler) error { return serveAt(t, lab, "169.254.42.42:80", h) }
			}
			if err := serve(handler); err != nil {
				t.Fatal(err)
			}
			m := boot(t, lab, id, BootOptions{Image: b.Image, Firmware: vm.BIOS, SMBIOS: c.smbios})
			s := up(t, m)
			says(t, m, "instance config applied from the metadata service")
			noAlarms(t, m)
			s.powerOff(t)
		})
	}
}

func serveAt(t *testing.T, lab *Lab, address string, h http.Handler) error {
	t.Helper()
	l, err := lab.Internet.Listen(netip.MustParseAddrPort(address))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func(l net.Listener) { ended <- server.Serve(l) }(l)
	t.Cleanup(func() {
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return nil
}
