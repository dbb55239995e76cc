package ionos

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// A server that IONOS could not make is told, and what there is of it goes.
func TestServerThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.begin(t)
	image, err := r.Upload(t.Context(), testUpload(e))
	if err != nil {
		t.Fatal(err)
	}
	r.cloud.fail["POST servers"] = "the limit of cores is reached"
	_, err = r.Deploy(t.Context(), testMachine(e, image))
	if fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "the limit of cores is reached") {
		t.Fatalf("a request that fails: %v", err)
	}
	if _, err := e.Collect(t.Context(), r.Provider); err != nil {
		t.Fatal(err)
	}
	r.empty(t, e.ID)
}

// Credentials may expire at any moment.
func TestCredentialsThatExpire(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	unauthorized := object{"httpStatus": 401, "messages": []object{{"errorCode": "315", "message": "Unauthorized"}}}
	for skip := range 12 {
		r.fresh(t)
		r.api.Plan(fake.Fault{Skip: skip * 4, Times: fake.Always, Status: 401, Body: unauthorized})
		e := r.begin(t)
		image, err := r.Upload(t.Context(), testUpload(e))
		if err == nil {
			_, err = r.Deploy(t.Context(), testMachine(e, image))
		}
		if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), testPassword) {
			t.Errorf("after %d requests: %v", skip*4, err)
		}
	}
	o := r.options()
	if _, err := newProvider(t.Context(), o, quick); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "may have expired") {
		t.Errorf("from the start: %v", err)
	}
}

// Something that is not the API is no reason to print what it says.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.api.Plan(fake.Fault{On: "GET /images", Status: 200, Body: "<html>what nobody shall see", Proxy: true})
	_, err := r.Images(t.Context())
	if fault.Of(err) != fault.OfProvider || strings.Contains(err.Error(), "<html>") {
		t.Errorf("a page: %v", err)
	}
	r.api.Plan(fake.Fault{On: "GET /images", Status: 400, Body: "<html>what nobody shall see", Proxy: true})
	if _, err = r.Images(t.Context()); fault.Of(err) != fault.OfInput || strings.Contains(err.Error(), "<html>") {
		t.Errorf("another: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.api.Plan(fake.Fault{On: "GET /images", Hook: cancel, Lost: true}) // an answer could come before the interruption is seen
	if _, err = r.Images(ctx); !errors.Is(err, context.Canceled) || fault.Of(err) != fault.Unknown {
		t.Errorf("an interruption: kind %v, %v", fault.Of(err), err)
	}
}

func TestDeleteIsCareful(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server, _ := r.deployed(t)
	dc, inner, _ := split(server.ID)
	err := r.Delete(t.Context(), providers.Resource{Kind: kindDatacenter, ID: dc})
	if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "not empty") || len(r.cloud.state.Centers) != 1 {
		t.Errorf("a data center with a server: %v", err)
	}
	for _, gone := range []providers.Resource{
		{Kind: kindServer, ID: join(dc, "none")}, {Kind: kindVolume, ID: join(dc, "none")}, {Kind: kindLAN, ID: join(dc, "77")},
		{Kind: kindServer, ID: "none/none"}, {Kind: kindImage, ID: "none"}, {Kind: kindBlock, ID: "none"}, {Kind: kindDatacenter, ID: "none"},
		{Kind: kindUpload, ID: diskFolder + "/none.raw", Name: "none.raw"},
	} {
		if err := r.Delete(t.Context(), gone); err != nil {
			t.Errorf("%v is not there: %v", gone, err)
		}
	}
	for _, bad := range []providers.Resource{{Kind: "snapshot", ID: "x"}, {Kind: kindServer, ID: inner}, {Kind: kindServer, ID: dc + "/" + inner + "/x"}, {Kind: kindServer, ID: dc + "/"}} {
		if err := r.Delete(t.Context(), bad); fault.Of(err) != fault.OfInput {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := r.Find(t.Context(), ""); fault.Of(err) != fault.OfInput {
		t.Errorf("found without a number: %v", err)
	}
}

// A token is taken for the API, and the password for files.
func TestToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := r.options()
	o.Token = providers.NewSecret("a-token-for-the-api")
	p, err := newProvider(t.Context(), o, quick)
	if err != nil {
		t.Fatal(err)
	}
	e := r.begin(t)
	if _, err := p.Upload(t.Context(), testUpload(e)); err != nil {
		t.Fatal(err)
	}
	if r.cloud.authorization != "Bearer a-token-for-the-api" {
		t.Errorf("the API was shown %q", r.cloud.authorization)
	}
	o.User, o.Password = "", providers.Secret{}
	if p, err = newProvider(t.Context(), o, quick); err != nil {
		t.Fatal(err)
	}
	u := testUpload(r.begin(t))
	u.Labels[providers.LabelImage] = "other"
	if _, err := p.Upload(t.Context(), u); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "no token") {
		t.Errorf("an upload with a token alone: %v", err)
	}
	if found, err := p.Find(t.Context(), e.ID); err != nil || len(found) != 1 {
		t.Errorf("found are %v, %v", found, err)
	}
}

// The SDK prints requests with all headers when the environment says so, and trusts a
// fingerprint alone. Neither happens. (Not parallel: it is about the environment.)
func TestTheEnvironmentDoesNotMatter(t *testing.T) {
	t.Setenv(sdk.IonosLogLevelEnvVar, "trace")
	t.Setenv(sdk.IonosPinnedCertEnvVar, "00:11:22")
	t.Setenv(sdk.IonosContractNumber, "99")
	stderr, printed := os.Stderr, make(chan []byte)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		data, _ := io.ReadAll(r)
		printed <- data
	}()
	os.Stderr = w
	rig := newRig(t)
	e := rig.begin(t)
	_, err = rig.Upload(t.Context(), testUpload(e))
	os.Stderr = stderr
	w.Close()
	if said := <-printed; len(said) != 0 {
		t.Errorf("printed was %q", said)
	}
	if err != nil {
		t.Error(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, rig.Provider); strings.Contains(text, testPassword) {
			t.Errorf("%s shows the password", verb)
		}
		if text := fmt.Sprintf(verb, *rig.Provider); strings.Contains(text, testPassword) {
			t.Errorf("%s of what it is made of shows the password", verb)
		}
		if text := fmt.Sprintf(verb, rig.opts); strings.Contains(text, testPassword) {
			t.Errorf("%s of the options shows the password", verb)
		}
	}
	if len(rig.cloud.contract) != 0 {
		t.Errorf("the contract of the environment was asked for: %v", rig.cloud.contract)
	}
	o := rig.options()
	o.Contract = "31234567"
	if _, err := newProvider(t.Context(), o, quick); err != nil || len(rig.cloud.contract) != 1 || rig.cloud.contract[0] != o.Contract {
		t.Errorf("the contract %v was asked for, %v", rig.cloud.contract, err)
	}
	// With a certificate that nobody vouches for nothing is sent.
	api := fake.Serve(t, fake.Options{Spec: specification(t), Base: "/cloudapi/v6", Handler: newCloud(t, rig.ftp), TLS: true})
	o.Endpoint, o.Roots = api.URL, x509.NewCertPool()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // it is tried again and again
	defer cancel()
	if _, err := newProvider(ctx, o, quick); err == nil || len(api.Requests()) != 0 {
		t.Errorf("an API with another certificate: %v", err)
	}
	o.Roots = api.Client.Transport.(*http.Transport).TLSClientConfig.RootCAs
	if _, err := newProvider(t.Context(), o, quick); err != nil {
		t.Errorf("an API with its own certificate: %v", err)
	}
	// Of the CD-ROM nothing stays on this machine.
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	if _, err := makeISO([]byte(testConfig)); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}
